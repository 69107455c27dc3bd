"""Storage: migrates, then serves buckets and objects from the database and the storage folder.

As upstream it checks tokens itself, keeps an object's content type in an extended attribute, and needs a file system
that has them (stack-facts 3.6).
"""

import json
import os
import re
import sys
import time
import uuid

import psycopg2
import psycopg2.extras

from . import database, startup, tokens, web

ROOT = "/var/lib/storage"
_XATTR = "user.supabase.content-type"
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,100}")


def log(level, message, **fields):
    row = {
        "level": level,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "msg": message,
        "tenantId": os.environ.get("TENANT_ID"),
        "hostname": os.environ.get("HOSTNAME"),
        "pid": os.getpid(),
        **fields,
    }
    print(json.dumps(row), flush=True)


def check_keys():
    secret = os.environ["PGRST_JWT_SECRET"]
    for name, role in (("ANON_KEY", "anon"), ("SERVICE_KEY", "service_role")):
        if not tokens.is_key(os.environ[name], secret, role):
            startup.refuse(
                "storage", f"environment.{name}: expected a token of role {role} signed with PGRST_JWT_SECRET"
            )


def check_attributes():
    probe = os.path.join(ROOT, ".xattr-check")
    try:
        with open(probe, "w", encoding="utf-8"):
            pass
        os.setxattr(probe, "user.supabase.check", b"1")
        os.unlink(probe)
    except OSError as error:
        startup.refuse(
            "storage", f"volumes.{ROOT}: expected a writable folder with user extended attributes, found {error}"
        )


def connect():
    return database.connect("storage", dsn=os.environ["DATABASE_URL"])


def migrate():
    try:
        connection = connect()
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into storage.migrations (id, name, hash) values (1000, 'sandbox', 'sandbox')"
                " on conflict do nothing"
            )
        connection.close()
    except psycopg2.Error as error:
        log("fatal", f"migration failed: {database.reason(error)}")
        sys.exit(1)


def problem(status, error, message):
    return web.Answer(status, {"statusCode": str(status), "error": error, "message": message})


def as_role(token, action):
    """Runs `action(cursor)` in one transaction as the token's role, so that row security decides."""
    try:
        found = tokens.claims(token or "", os.environ["PGRST_JWT_SECRET"])
    except tokens.Refused as error:
        return problem(400, "Unauthorized", str(error))
    try:
        connection = connect()
        connection.autocommit = False
        with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                (found.get("role", "anon"), json.dumps(found)),
            )
            reply = action(cursor)
        connection.close()
        return reply
    except psycopg2.errors.UniqueViolation:
        return problem(400, "Duplicate", "The resource already exists")
    except psycopg2.errors.InsufficientPrivilege as error:
        return problem(400, "Unauthorized", database.reason(error))
    except psycopg2.Error as error:
        log("error", database.reason(error))
        return problem(500, "Internal", "database error")


def answer(request):
    if request.path == "/status":
        return web.Answer(200, b"")
    if request.path == "/metrics":
        return web.Answer(200, "storage_up 1\n", {"Content-Type": "text/plain"})
    log("info", "request completed", method=request.method, path=request.path)
    token = request.bearer()
    if request.path == "/health":
        return as_role(token, lambda cursor: web.Answer(200, {"healthy": True}))
    if request.path.rstrip("/") == "/bucket":
        return as_role(token, create_bucket(request) if request.method == "POST" else list_buckets)
    kind, _, rest = request.path.lstrip("/").partition("/")
    if kind == "bucket" and _BUCKET.fullmatch(rest):
        return as_role(token, one_bucket(request, rest))
    if kind == "object":
        return as_role(token, one_object(request, rest.removeprefix("authenticated/")))
    return problem(404, "Not Found", f"Route {request.method}:{request.path} not found")


def list_buckets(cursor):
    cursor.execute("select id, name, public, created_at::text from storage.buckets order by name")
    return web.Answer(200, [dict(row) for row in cursor.fetchall()])


def create_bucket(request):
    def action(cursor):
        body = request.json() or {}
        name = body.get("name") or body.get("id") or ""
        if not _BUCKET.fullmatch(name):
            return problem(400, "Invalid Input", "name: 1-100 letters, digits, dot, dash or underscore")
        cursor.execute(
            "insert into storage.buckets (id, name, public) values (%s, %s, %s)", (name, name, bool(body.get("public")))
        )
        return web.Answer(200, {"name": name})

    return action


def one_bucket(request, name):
    def action(cursor):
        if request.method == "DELETE":
            cursor.execute("delete from storage.buckets where id = %s returning id", (name,))
            found = cursor.fetchone()
            return web.Answer(200, {"message": "Successfully deleted"}) if found else missing()
        cursor.execute("select id, name, public, created_at::text from storage.buckets where id = %s", (name,))
        found = cursor.fetchone()
        return web.Answer(200, dict(found)) if found else missing()

    return action


def missing():
    return problem(404, "Not Found", "The resource was not found")


def one_object(request, path):
    """Upload and download; the path on disk is the one of stack-facts 3.6."""
    bucket, _, key = path.partition("/")
    safe = _BUCKET.fullmatch(bucket) and key and ".." not in key.split("/")

    def folder():
        return os.path.join(ROOT, os.environ["GLOBAL_S3_BUCKET"], os.environ["TENANT_ID"], bucket, key)

    def action(cursor):
        if not safe:
            return problem(400, "Invalid Input", "expected object/BUCKET/KEY")
        if request.method == "POST":
            if len(request.body) > int(os.environ["FILE_SIZE_LIMIT"]):
                return problem(413, "Payload too large", "The object exceeded the maximum allowed size")
            version = str(uuid.uuid4())
            cursor.execute(
                "insert into storage.objects (bucket_id, name, version) values (%s, %s, %s) returning id::text",
                (bucket, key, version),
            )
            os.makedirs(folder(), exist_ok=True)
            target = os.path.join(folder(), version)
            with open(target, "wb") as file:
                file.write(request.body)
            os.setxattr(target, _XATTR, request.headers.get("Content-Type", "application/octet-stream").encode())
            return web.Answer(200, {"Id": cursor.fetchone()["id"], "Key": f"{bucket}/{key}"})
        cursor.execute("select version from storage.objects where bucket_id = %s and name = %s", (bucket, key))
        found = cursor.fetchone()
        if found is None:
            return missing()
        target = os.path.join(folder(), found["version"])
        with open(target, "rb") as file:
            return web.Answer(200, file.read(), {"Content-Type": os.getxattr(target, _XATTR).decode()})

    return action


def main():
    startup.begin("storage")
    check_keys()
    check_attributes()
    migrate()
    log("info", "Server listening at http://0.0.0.0:5000")
    web.serve(answer, 5000)


def node(*arguments):
    """The image's command is `node dist/server.js`."""
    if arguments != ("dist/server.js",):
        startup.refuse("storage", f"command: expected node dist/server.js, found node {' '.join(arguments)}")
    main()
