"""The schema cache, and the thread that keeps it: loads at start, again on NOTIFY pgrst, again after a lost database.

As in PostgREST the service starts without a database and answers 503 until the cache is loaded (stack-facts 3.4).
"""

import os
import select
import threading
import time

import psycopg2

from .. import database

# PostgREST waits up to 32 s between tries.
_MAX_WAIT_S = 32

_TABLES = """
select n.nspname, c.relname, array_agg(a.attname order by a.attnum), array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relkind in ('r', 'v', 'm', 'f', 'p') and n.nspname = any(%s) group by 1, 2"""
_FUNCTIONS = """
select n.nspname, p.proname, p.proargnames, p.proretset, p.prorettype = 'void'::regtype
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = any(%s) and p.prokind = 'f' and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)"""


class Cache:
    """What the exposed schemas hold; `ready` is False while it could not be loaded."""

    def __init__(self, log):
        self.log = log
        self.schemas = [name.strip() for name in os.environ["PGRST_DB_SCHEMAS"].split(",")]
        self.ready = False
        self.problem = ("PGRST001", "Database client error. Retrying the connection.")
        self.tables, self.functions = {}, {}

    def keep(self):
        """Runs for ever in a thread."""
        wait_s = 1
        while True:
            try:
                connection = database.connect("rest-listener", dsn=os.environ["PGRST_DB_URI"])
                with connection.cursor() as cursor:
                    cursor.execute("listen pgrst")
                    self._load(cursor)
                    wait_s = 1
                    self._follow(connection, cursor)
            except psycopg2.Error as error:
                self.ready = False
                self.log(f"{database.reason(error)}. Attempting to reconnect to the database in {wait_s} seconds...")
            time.sleep(wait_s)
            wait_s = min(wait_s * 2, _MAX_WAIT_S)

    def start(self):
        threading.Thread(target=self.keep, daemon=True).start()

    def _load(self, cursor):
        cursor.execute("select nspname from pg_namespace where nspname = any(%s)", (self.schemas,))
        missing = set(self.schemas) - {row[0] for row in cursor.fetchall()}
        if missing:
            self.ready = False
            self.problem = ("PGRST002", "Could not query the database for the schema cache. Retrying.")
            self.log(f"schema {', '.join(sorted(missing))} of PGRST_DB_SCHEMAS does not exist")
            return
        cursor.execute(_TABLES, (self.schemas,))
        self.tables = {(schema, name): dict(zip(columns, types)) for schema, name, columns, types in cursor.fetchall()}
        cursor.execute(_FUNCTIONS, (self.schemas,))
        self.functions = {
            (schema, name): (names or [], is_set, void) for schema, name, names, is_set, void in cursor.fetchall()
        }
        self.ready = True
        self.log("Schema cache loaded")

    def _follow(self, connection, cursor):
        """Waits for notifications; a reload now and then also finds a connection that died silently."""
        while True:
            readable, _, _ = select.select([connection], [], [], 30 if self.ready else 2)
            connection.poll()
            if connection.notifies:
                # DDL sends one notification per statement: take what came together as one.
                time.sleep(0.05)
                connection.poll()
                connection.notifies.clear()
                self._load(cursor)
            elif not readable:
                if self.ready:
                    cursor.execute("select 1")
                else:
                    self._load(cursor)
