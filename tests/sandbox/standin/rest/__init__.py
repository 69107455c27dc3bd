"""Enough of PostgREST over the real database for true row trips: filters, inserts, functions, roles by token."""
