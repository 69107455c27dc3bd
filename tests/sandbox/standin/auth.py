"""Auth: migrates its schema, then answers health and settings.

As the real one it does not retry the database: it exits, and the restart policy is the loop (stack-facts 3.3).
"""

import json
import os
import sys
import time

import psycopg2

from . import database, startup, tokens, web

VERSION = "v2.99.0"
# The last of the migrations this version brings, as its table records it.
_MIGRATION = "20230818113222"


def log(level, message, **fields):
    """One JSON line, the shape the log pipeline parses."""
    row = {"level": level, "msg": message, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **fields}
    print(json.dumps(row), flush=True)


def migrate():
    try:
        connection = database.connect("auth", dsn=os.environ["GOTRUE_DB_DATABASE_URL"])
        with connection.cursor() as cursor:
            cursor.execute("select current_user")
            role = cursor.fetchone()[0]
            if role != "supabase_auth_admin":
                startup.refuse("auth", f"database role: expected supabase_auth_admin, found {role}")
            cursor.execute(
                "insert into auth.schema_migrations (version) values (%s) on conflict do nothing", (_MIGRATION,)
            )
            cursor.execute("create table if not exists auth.sessions (id uuid primary key, user_id uuid not null)")
        connection.close()
    except psycopg2.Error as error:
        log("fatal", f"running db migrations: {database.reason(error)}")
        sys.exit(1)


def settings():
    on = lambda name: os.environ[name] == "true"  # noqa: E731
    return {
        "external": {"email": on("GOTRUE_EXTERNAL_EMAIL_ENABLED"), "phone": on("GOTRUE_EXTERNAL_PHONE_ENABLED")},
        "disable_signup": on("GOTRUE_DISABLE_SIGNUP"),
        "mailer_autoconfirm": on("GOTRUE_MAILER_AUTOCONFIRM"),
        "phone_autoconfirm": on("GOTRUE_SMS_AUTOCONFIRM"),
        "sms_provider": "",
        "saml_enabled": False,
    }


def answer(request):
    log("info", "request completed", method=request.method, path=request.path, component="api")
    if request.path == "/health":
        return web.Answer(
            200,
            {
                "version": VERSION,
                "name": "GoTrue",
                "description": "GoTrue is a user registration and authentication API",
            },
        )
    if request.path == "/settings":
        return web.Answer(200, settings())
    if request.path == "/user":
        return user(request)
    if request.path == "/admin/users":
        return users(request)
    if request.path in ("/verify", "/callback", "/authorize"):
        return web.Answer(
            400, {"code": 400, "msg": f"{request.path[1:]} needs parameters that this stand-in does not act on"}
        )
    return web.Answer(404, {"code": 404, "msg": "404 page not found"})


def user(request):
    """Proves that tokens are checked with the secret of this project."""
    token = request.bearer()
    if token is None:
        return web.Answer(401, {"code": 401, "msg": "This endpoint requires a Bearer token"})
    try:
        found = tokens.claims(token, os.environ["GOTRUE_JWT_SECRET"])
    except tokens.Refused as error:
        return web.Answer(401, {"code": 401, "msg": f"invalid JWT: unable to parse or verify signature, {error}"})
    return web.Answer(200, {"role": found.get("role"), "aud": os.environ["GOTRUE_JWT_AUD"]})


def users(request):
    """The list that only the service role may read, out of the database as its own role."""
    try:
        found = tokens.claims(request.bearer() or "", os.environ["GOTRUE_JWT_SECRET"])
    except tokens.Refused as error:
        return web.Answer(401, {"code": 401, "msg": f"invalid JWT: {error}"})
    if found.get("role") != "service_role":
        return web.Answer(403, {"code": 403, "msg": "User not allowed"})
    try:
        connection = database.connect("auth", dsn=os.environ["GOTRUE_DB_DATABASE_URL"])
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from auth.users")
            count = cursor.fetchone()[0]
        connection.close()
    except psycopg2.Error as error:
        log("error", database.reason(error))
        return web.Answer(500, {"code": 500, "msg": "Database error finding users"})
    return web.Answer(200, {"users": [], "aud": os.environ["GOTRUE_JWT_AUD"], "total": count})


def main():
    startup.begin("auth")
    migrate()
    log("info", f"GoTrue API started on: {os.environ['GOTRUE_API_HOST']}:{os.environ['GOTRUE_API_PORT']}")
    web.serve(answer, int(os.environ["GOTRUE_API_PORT"]), os.environ["GOTRUE_API_HOST"])
