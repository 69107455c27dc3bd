"""Realtime: the three programs that the compose file joins (migrate, the seed step, the server).

The tenant is the first label of the Host header; its row holds the JWT secret, encrypted with DB_ENC_KEY, and the
server reads it back from there. So a wrong upstream name, key length or seed order fails here as upstream.
"""

import json
import os
import sys
import time
from urllib.parse import parse_qs, urlsplit

import psycopg2

from . import database, startup, tokens, web, websocket

TENANT = "realtime-dev"


def log(level, message):
    now = time.time()
    stamp = time.strftime("%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}"
    print(f"{stamp} [{level}] {message}", flush=True)


def connect():
    connection = database.connect(
        "realtime",
        host=os.environ["DB_HOST"],
        port=os.environ["DB_PORT"],
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASSWORD"],
    )
    with connection.cursor() as cursor:
        cursor.execute(os.environ["DB_AFTER_CONNECT_QUERY"])
    return connection


def run(statements):
    """One login, the statements in order; a database error ends the process as the release script does."""
    try:
        connection = connect()
        with connection.cursor() as cursor:
            for statement, values in statements:
                cursor.execute(statement, values)
        connection.close()
    except psycopg2.Error as error:
        log("error", f"** (Postgrex.Error) {database.reason(error)}")
        sys.exit(1)


def migrate():
    startup.begin("realtime", fault=False)
    run(
        [
            (
                "create table if not exists tenants (external_id text primary key, name text, jwt_secret bytea not null,"
                " inserted_at timestamptz not null default now())",
                None,
            ),
            ("create table if not exists schema_migrations (version bigint primary key)", None),
        ]
    )
    log("info", "Migrations are up")


def release(*arguments):
    """`realtime eval EXPRESSION`: the seed step writes the tenant anew at each start."""
    startup.stop_on_signals()
    if arguments != ("eval", "Realtime.Release.seeds(Realtime.Repo)"):
        startup.refuse(
            "realtime", f"command: expected eval 'Realtime.Release.seeds(Realtime.Repo)', found {arguments!r}"
        )
    key = os.environ["DB_ENC_KEY"].encode()
    if len(key) != 16:
        startup.refuse("realtime", f"environment.DB_ENC_KEY: expected 16 bytes, found {len(key)}")
    run(
        [
            ("delete from tenants where external_id = %s", (TENANT,)),
            (
                "insert into tenants (external_id, name, jwt_secret) values"
                " (%s, %s, extensions.encrypt(%s, %s, 'aes-ecb/pad:pkcs'))",
                (TENANT, TENANT, os.environ["API_JWT_SECRET"].encode(), key),
            ),
        ]
    )


def tenant_secret(name):
    """The tenant's JWT secret, or None when there is no such tenant."""
    connection = connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "select extensions.decrypt(jwt_secret, %s, 'aes-ecb/pad:pkcs') from tenants" " where external_id = %s",
                (os.environ["DB_ENC_KEY"].encode(), name),
            )
            row = cursor.fetchone()
            return bytes(row[0]).decode() if row else None
    finally:
        connection.close()


def authorized(token, secret):
    """The claims when the token may connect: right secret, not expired, with role, exp and `typ: JWT`."""
    if token is None or not tokens.has_type(token):
        return None
    try:
        found = tokens.claims(token, secret)
    except tokens.Refused:
        return None
    return found if "role" in found and "exp" in found else None


def answer(request):
    if request.path.startswith("/api/tenants/") and request.path.endswith("/health"):
        return health(request)
    if request.path == "/socket/websocket":
        return connect_client(request)
    return web.Answer(404, {"errors": {"detail": "Not Found"}})


def health(request):
    if authorized(request.bearer(), os.environ["API_JWT_SECRET"]) is None:
        return web.Answer(403, "")
    name = request.path.split("/")[3]
    try:
        known = tenant_secret(name) is not None
    except psycopg2.Error as error:
        log("error", f"Unable to reach the database: {database.reason(error)}")
        return web.Answer(500, {"errors": {"detail": "Internal Server Error"}})
    if not known:
        return web.Answer(404, {"error": "not found"})
    return web.Answer(200, {"data": {"healthy": True, "db_connected": False, "connected_cluster": 0}})


def connect_client(request):
    """The socket is refused when the tenant is unknown or the key is not the tenant's."""
    name = request.headers.get("Host", "").split(":")[0].split(".")[0]
    try:
        secret = tenant_secret(name)
    except psycopg2.Error as error:
        log("error", f"Unable to reach the database: {database.reason(error)}")
        return web.Answer(500, "")
    if secret is None:
        log("error", f"Auth error: tenant `{name}` not found")
        return web.Answer(403, "")
    token = request.headers.get("x-api-key") or request.query.get("apikey")
    if authorized(token, secret) is None:
        log("error", "Auth error: invalid token")
        return web.Answer(403, "")
    if not websocket.wants_upgrade(request.headers):
        return web.Answer(400, "Bad Request")
    websocket.accept(request.handler)
    try:
        converse(request.handler, parse_qs(urlsplit(request.handler.path).query).get("vsn", ["1.0.0"])[0])
    except (websocket.Closed, OSError, ValueError, KeyError, TypeError):
        pass
    return None


def converse(handler, version):
    """Joins, leaves and heartbeats; version 1 messages are objects, version 2 are arrays."""
    while True:
        message = json.loads(websocket.read_text(handler))
        if version.startswith("2"):
            join_ref, ref, topic, event, _ = message
        else:
            join_ref, ref, topic, event = (
                message.get("join_ref"),
                message.get("ref"),
                message["topic"],
                message["event"],
            )
        known = event in ("phx_join", "phx_leave") and topic.startswith("realtime:") or event == "heartbeat"
        response = {"postgres_changes": []} if event == "phx_join" else {}
        payload = {
            "status": "ok" if known else "error",
            "response": response if known else {"reason": "unmatched topic"},
        }
        if version.startswith("2"):
            reply = [join_ref, ref, topic, "phx_reply", payload]
        else:
            reply = {"topic": topic, "event": "phx_reply", "payload": payload, "ref": ref}
        websocket.send(handler, json.dumps(reply).encode())
        log("info", f"{event} {topic}")


def server():
    startup.stop_on_signals()
    startup.obey_fault("realtime")
    try:
        if tenant_secret(TENANT) is None:
            log("warning", f"tenant {TENANT} is not seeded")
    except psycopg2.Error as error:
        log("error", f"** (DBConnection.ConnectionError) {database.reason(error)}")
        sys.exit(1)
    log("info", f"Running RealtimeWeb.Endpoint at [::]:{os.environ['PORT']}")
    web.serve(answer, int(os.environ["PORT"]), "::")
