"""The server: one transaction per request, as the role of the token (stack-facts 3.4, 6)."""

import json
import os
import queue
import sys
import time

import psycopg2
from psycopg2 import sql

from .. import database, startup, tokens, web
from . import query
from .cache import Cache


def log(message):
    print(f"{time.strftime('%d/%b/%Y:%H:%M:%S +0000', time.gmtime())}: {message}", flush=True)


class Problem(Exception):
    """An answer in PostgREST's form of an error."""

    def __init__(self, status, code, message, details=None, hint=None):
        super().__init__(message)
        self.answer = web.Answer(status, {"code": code, "details": details, "hint": hint, "message": message})


class Pool:
    """At most PGRST_DB_POOL connections, opened when needed."""

    def __init__(self, size):
        self.free = queue.LifoQueue()
        for _ in range(size):
            self.free.put(None)

    def run(self, action):
        # PostgREST gives up on a busy pool after 10 s.
        try:
            connection = self.free.get(timeout=10)
        except queue.Empty:
            raise Problem(504, "PGRST003", "Timed out acquiring connection from connection pool.") from None
        try:
            if connection is None or connection.closed:
                connection = database.connect("rest", dsn=os.environ["PGRST_DB_URI"])
                connection.autocommit = False
            with connection, connection.cursor() as cursor:
                return action(cursor)
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if connection is None or connection.closed:
                connection = None
                raise Problem(503, "PGRST000", "Could not connect with the database", database.reason(error)) from None
            raise
        finally:
            self.free.put(connection)


class Rest:
    def __init__(self):
        self.cache = Cache(log)
        self.pool = Pool(int(os.environ.get("PGRST_DB_POOL", "10")))
        self.anon = os.environ["PGRST_DB_ANON_ROLE"]
        self.max_rows = int(os.environ.get("PGRST_DB_MAX_ROWS", "1000000"))

    def answer(self, request):
        try:
            if not self.cache.ready:
                raise Problem(503, *self.cache.problem)
            role, claims = self._role(request)
            schema = self._schema(request)
            return self._route(request, role, claims, schema)
        except Problem as problem:
            return problem.answer
        except query.Bad as error:
            return Problem(400, "PGRST100", str(error)).answer
        except psycopg2.Error as error:
            return _database_problem(error, anonymous=request.bearer() is None).answer

    def _role(self, request):
        token = request.bearer()
        if token is None:
            return self.anon, {}
        try:
            claims = tokens.claims(token, os.environ["PGRST_JWT_SECRET"])
        except tokens.Refused as error:
            raise Problem(401, "PGRST301", f"JWSError {error}") from None
        return claims.get("role", self.anon), claims

    def _schema(self, request):
        name = request.headers.get("Accept-Profile" if request.method in ("GET", "HEAD") else "Content-Profile")
        if name is None:
            return self.cache.schemas[0]
        if name not in self.cache.schemas:
            raise Problem(406, "PGRST106", f"The schema must be one of the following: {', '.join(self.cache.schemas)}")
        return name

    def _route(self, request, role, claims, schema):
        path = request.path.strip("/")
        if path == "":
            return self._openapi(schema)
        if path.startswith("rpc/"):
            return self._in_role(role, claims, schema, request, self._call(request, schema, path[4:]))
        if "/" in path:
            raise Problem(404, "PGRST125", "Invalid path specified in request URL")
        actions = {
            "GET": self._read,
            "HEAD": self._read,
            "POST": self._insert,
            "PATCH": self._update,
            "DELETE": self._delete,
        }
        if request.method not in actions:
            raise Problem(405, "PGRST117", f"Unsupported HTTP method: {request.method}")
        return self._in_role(
            role, claims, schema, request, actions[request.method](request, sql.Identifier(schema, path))
        )

    def _in_role(self, role, claims, schema, request, action):
        extra = os.environ.get("PGRST_DB_EXTRA_SEARCH_PATH", "public")
        path = ", ".join(f'"{name.strip()}"' for name in [schema, *extra.split(",")])

        def work(cursor):
            cursor.execute(
                "select set_config('search_path', %s, true), set_config('role', %s, true),"
                " set_config('request.jwt.claims', %s, true), set_config('request.method', %s, true),"
                " set_config('request.path', %s, true)",
                (path, role, json.dumps(claims), request.method, request.path),
            )
            return action(cursor)

        return self.pool.run(work)

    def _read(self, request, table):
        condition, values = query.where(request.pairs)
        statement = sql.SQL(
            "select coalesce(json_agg(t), '[]')::text, count(*) from (select {} from {}{}{}{}) t"
        ).format(
            query.columns(request.query.get("select")),
            table,
            condition,
            query.order(request.query.get("order")),
            query.window(request.query, self.max_rows),
        )

        def action(cursor):
            cursor.execute(statement, values)
            body, count = cursor.fetchone()
            return _rows(request, 200, body, count)

        return action

    def _insert(self, request, table):
        rows = _json_rows(request)
        names = sorted({name for row in rows for name in row})

        def action(cursor):
            if not names:
                statement = sql.SQL("insert into {} default values returning *").format(table)
                values = []
            else:
                listed = sql.SQL(", ").join(sql.Identifier(name) for name in names)
                conflict = sql.SQL("")
                if "resolution=ignore-duplicates" in request.headers.get("Prefer", ""):
                    conflict = sql.SQL(" on conflict do nothing")
                statement = sql.SQL(
                    "insert into {t} ({c}) select {c} from json_populate_recordset(null::{t}, %s){x} returning *"
                ).format(t=table, c=listed, x=conflict)
                values = [json.dumps(rows)]
            return _written(cursor, request, statement, values, 201)

        return action

    def _update(self, request, table):
        changes = _json_rows(request)[0]
        condition, values = query.where(request.pairs)
        assigned = sql.SQL(", ").join(sql.SQL("{0} = p.{0}").format(sql.Identifier(name)) for name in changes)
        statement = sql.SQL("update {t} set {a} from json_populate_record(null::{t}, %s) p{w} returning {t}.*").format(
            t=table, a=assigned, w=_qualified(condition, table)
        )
        return lambda cursor: _written(cursor, request, statement, [json.dumps(changes), *values], 200)

    def _delete(self, request, table):
        condition, values = query.where(request.pairs)
        statement = sql.SQL("delete from {}{} returning *").format(table, condition)
        return lambda cursor: _written(cursor, request, statement, values, 200)

    def _call(self, request, schema, name):
        known = self.cache.functions.get((schema, name))
        if known is None:
            raise Problem(404, "PGRST202", f"Could not find the function {schema}.{name} in the schema cache")
        arguments = dict(request.pairs) if request.method in ("GET", "HEAD") else (_json_rows(request) or [{}])[0]
        _, is_set, void = known
        call = sql.SQL("select * from {}({})").format(
            sql.Identifier(schema, name),
            sql.SQL(", ").join(sql.SQL("{} => %s").format(sql.Identifier(key)) for key in arguments),
        )
        values = [json.dumps(value) if isinstance(value, (dict, list)) else value for value in arguments.values()]

        def action(cursor):
            (
                cursor.execute(call, values)
                if void
                else cursor.execute(
                    sql.SQL("select coalesce(json_agg(f), '[]')::text from ({}) f").format(call), values
                )
            )
            if void:
                return web.Answer(204)
            rows = json.loads(cursor.fetchone()[0])
            # A function that returns one scalar gives rows of one column that carries the function's name.
            plain = [row[name] if isinstance(row, dict) and list(row) == [name] else row for row in rows]
            return web.Answer(
                200,
                json.dumps(plain if is_set else (plain[0] if plain else None)),
                {"Content-Type": "application/json; charset=utf-8"},
            )

        return action

    def _openapi(self, schema):
        paths = {"/": {"get": {"tags": ["Introspection"]}}}
        definitions = {}
        for (owner, name), found in self.cache.tables.items():
            if owner == schema:
                paths[f"/{name}"] = {"get": {"tags": [name]}, "post": {"tags": [name]}}
                definitions[name] = {
                    "type": "object",
                    "properties": {key: {"format": kind} for key, kind in found.items()},
                }
        for owner, name in self.cache.functions:
            if owner == schema:
                paths[f"/rpc/{name}"] = {"post": {"tags": [f"(rpc) {name}"]}}
        body = {
            "swagger": "2.0",
            "info": {"title": "PostgREST API", "version": "11.2.2"},
            "basePath": "/",
            "paths": paths,
            "definitions": definitions,
        }
        return web.Answer(200, json.dumps(body), {"Content-Type": "application/openapi+json; charset=utf-8"})

    def admin(self, request):
        if request.path == "/live":
            return web.Answer(200, b"")
        if request.path == "/ready":
            return web.Answer(200 if self.cache.ready else 503, b"")
        return web.Answer(404, b"")


def _qualified(condition, table):
    """In an UPDATE .. FROM a bare column could also be the source's: filters mean the table's."""
    return sql.SQL(" where {t}.ctid in (select ctid from {t}{c})").format(t=table, c=condition)


def _json_rows(request):
    try:
        body = request.json()
    except ValueError:
        raise Problem(400, "PGRST102", "Empty or invalid json") from None
    rows = body if isinstance(body, list) else [body if body is not None else {}]
    if not all(isinstance(row, dict) for row in rows):
        raise Problem(400, "PGRST102", "All object keys must match")
    return rows


def _rows(request, status, body, count):
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Range": f"0-{count - 1}/*" if count else "*/*",
    }
    if "vnd.pgrst.object" in request.headers.get("Accept", ""):
        rows = json.loads(body)
        if len(rows) != 1:
            raise Problem(406, "PGRST116", "JSON object requested, multiple (or no) rows returned")
        return web.Answer(status, json.dumps(rows[0]), headers)
    return web.Answer(status, body, headers)


def _written(cursor, request, statement, values, status):
    """Prefer: return=representation gives the rows; without it the body is empty."""
    wanted = "return=representation" in request.headers.get("Prefer", "")
    cursor.execute(
        sql.SQL("with w as ({}) select coalesce(json_agg(w), '[]')::text, count(*) from w").format(statement), values
    )
    body, count = cursor.fetchone()
    if wanted:
        return _rows(request, status, body, count)
    return web.Answer(status if status == 201 else 204, b"")


def _database_problem(error, anonymous):
    code = error.pgcode or "XX000"
    message = error.diag.message_primary or database.reason(error)
    if code in ("42501",):
        status = 401 if anonymous else 403
    elif code in ("42P01", "42883"):
        status = 404
    elif code in ("23505", "23503"):
        status = 409
    elif code == "57014":
        status = 500
    elif code[:2] in ("22", "23", "42", "P0"):
        status = 400
    else:
        status = 500
    return Problem(status, code, message, error.diag.message_detail, error.diag.message_hint)


def main(*arguments):
    if arguments not in ((), ("postgrest",)):
        sys.exit(f"Unexpected arguments: {' '.join(arguments)}")
    startup.begin("rest")
    rest = Rest()
    log("Starting PostgREST 11.2.2...")
    rest.cache.start()
    if os.environ.get("PGRST_ADMIN_SERVER_PORT"):
        web.serve(rest.admin, int(os.environ["PGRST_ADMIN_SERVER_PORT"]), forever=False)
    log("Listening on port 3000")
    web.serve(rest.answer, 3000, access=lambda handler, text: log(f"{handler.client_address[0]} {text}"))
