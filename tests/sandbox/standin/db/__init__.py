"""The database image: a real PostgreSQL 15 whose first start does what the Supabase image's does."""
