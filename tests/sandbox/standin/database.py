"""Logins to the project's database with the credentials the stand-in was given."""

import psycopg2

CONNECT_S = 5


def connect(service, **parts):
    """One connection, autocommit. `dsn=` for a URL, or host, port, user, password, dbname."""
    connection = psycopg2.connect(connect_timeout=CONNECT_S, application_name=f"sandbox-{service}", **parts)
    connection.autocommit = True
    return connection


def reason(error):
    """The first line of a driver's error: it never holds the password."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
