"""Analytics: stores what vector sends in one table per source, in schema _analytics.

`/health` is 503 until the sources are seeded, as upstream; the key counts as it was when first seeded.
"""

import json
import os
import re
import sys
import threading
import time

import psycopg2
import psycopg2.extras

from . import database, startup, web

SOURCES = (
    "cloudflare.logs.prod",
    "postgres.logs",
    "deno-relay-logs",
    "deno-subhosting-events",
    "gotrue.logs.prod",
    "realtime.logs.prod",
    "storage.logs.prod.2",
    "postgREST.logs.prod",
    "pgbouncer.logs.prod",
)
# One INSERT per request of vector; a batch is at most 10 MB there.
MAX_ROWS = 20000


def log(level, message):
    stamp = time.strftime("%H:%M:%S.000", time.gmtime())
    print(f"{stamp} [{level}] {message}", flush=True)


def connect():
    connection = database.connect(
        "analytics",
        host=os.environ["DB_HOSTNAME"],
        port=os.environ["DB_PORT"],
        dbname=os.environ["DB_DATABASE"],
        user=os.environ["DB_USERNAME"],
        password=os.environ["DB_PASSWORD"],
    )
    with connection.cursor() as cursor:
        cursor.execute("select set_config('search_path', %s, false)", (os.environ["DB_SCHEMA"],))
    return connection


def table(source):
    return "log_events_" + re.sub("[^a-z0-9]", "_", source.lower())


def program(*arguments):
    """`logflare eval Logflare.Release.migrate`, then `logflare start --sname logflare`."""
    if arguments == ("eval", "Logflare.Release.migrate"):
        startup.begin("analytics", fault=False)
        migrate()
    elif arguments[:1] == ("start",):
        startup.stop_on_signals()
        serve()
    else:
        startup.refuse("analytics", f"command: expected eval Logflare.Release.migrate or start, found {arguments!r}")


def migrate():
    try:
        # Where the events go is a second address (POSTGRES_BACKEND_URL), usually the same database.
        database.connect("analytics", dsn=os.environ["POSTGRES_BACKEND_URL"]).close()
        connection = connect()
        with connection.cursor() as cursor:
            cursor.execute("create table if not exists users (id integer primary key, api_key text not null)")
            cursor.execute("create table if not exists sources (name text primary key)")
        connection.close()
    except psycopg2.Error as error:
        log("error", f"** (Postgrex.Error) {database.reason(error)}")
        sys.exit(1)


class State:
    """Set once the seed is done."""

    api_key = None
    pool = None
    lock = threading.Lock()


def seed():
    """Default user and sources. A key that changed since the first seed is not applied at this version."""
    try:
        connection = connect()
        with connection.cursor() as cursor:
            cursor.execute("insert into users values (1, %s) on conflict do nothing", (os.environ["LOGFLARE_API_KEY"],))
            for source in SOURCES:
                cursor.execute("insert into sources values (%s) on conflict do nothing", (source,))
                cursor.execute(
                    f"create table if not exists {table(source)} (id bigserial primary key,"
                    " timestamp timestamptz not null default now(), event_message text, body jsonb not null)"
                )
            cursor.execute("select api_key from users where id = 1")
            State.pool, State.api_key = connection, cursor.fetchone()[0]
    except psycopg2.Error as error:
        log("error", f"seed failed: {database.reason(error)}")
        os._exit(1)
    log("info", "All sources and endpoints are seeded")


def answer(request):
    ready = State.api_key is not None
    if request.path == "/health":
        if ready:
            return web.Answer(
                200,
                {
                    "status": "ok",
                    "proc_count": threading.active_count(),
                    "nodes": ["logflare@127.0.0.1"],
                    "nodes_count": 1,
                },
            )
        return web.Answer(503, {"status": "coming_up"})
    if request.path in ("/api/logs", "/logs") and request.method == "POST":
        return ingest(request) if ready else web.Answer(503, {"status": "coming_up"})
    return web.Answer(404, {"error": "not found"})


def ingest(request):
    key = request.query.get("api_key") or request.headers.get("x-api-key") or request.bearer()
    if key != State.api_key:
        return web.Answer(401, {"error": "Unauthorized"})
    source = request.query.get("source_name")
    if source not in SOURCES:
        return web.Answer(406, {"message": "Source not found"})
    try:
        body = request.json()
    except ValueError:
        return web.Answer(400, {"message": "invalid JSON"})
    rows = body.get("batch", [body]) if isinstance(body, dict) else body
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or len(rows) > MAX_ROWS:
        return web.Answer(406, {"message": "expected an array of objects"})
    values = [(row.get("event_message"), json.dumps(row)) for row in rows]
    try:
        with State.lock, State.pool.cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor, f"insert into {table(source)} (event_message, body) values %s", values
            )
    except psycopg2.Error as error:
        log("error", f"could not store events: {database.reason(error)}")
        os._exit(1)
    return web.Answer(200, {"message": "Logged!"})


def serve():
    startup.obey_fault("analytics")
    threading.Thread(target=seed, daemon=True).start()
    web.serve(answer, int(os.environ["PHX_HTTP_PORT"]), "0.0.0.0")
