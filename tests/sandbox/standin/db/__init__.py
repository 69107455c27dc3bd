"""The database image: a real PostgreSQL whose first start does what the Supabase image's does."""
