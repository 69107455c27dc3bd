#!/usr/bin/env python3
"""The gateway's smoke table (stack-facts 5) against a live stack, from outside.

usage: smoke.py ENDPOINT ANON_KEY SERVICE_KEY      e.g. smoke.py http://127.0.0.1:54000 eyJ... eyJ...

Prints one row per request and exits 1 when one misses. Standard library only; works on any images.
"""

import base64
import json
import os
import socket
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

# A stack that is called healthy answers at once; ten seconds is a machine under load.
TIMEOUT_S = 10


class Gateway:
    def __init__(self, endpoint, anon, service):
        self.endpoint, self.anon, self.service = endpoint.rstrip("/"), anon, service

    def call(self, method, path, key=None, body=None, headers=None):
        """Status, body text and headers of one request."""
        headers = {**(headers or {}), **({"apikey": key} if key else {})}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(self.endpoint + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                return reply.status, reply.read().decode("utf-8", "replace"), reply.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace"), error.headers


def expect_json(text, **wanted):
    """A problem in words, or None."""
    try:
        data = json.loads(text)
    except ValueError:
        return f"not JSON: {text[:60]!r}"
    for key, value in wanted.items():
        if not isinstance(data, dict) or key not in data or (value is not None and data[key] != value):
            return f"expected {key}={value!r}"
    return None


def table(gateway):
    """(what, expected status, call, check of the body or None)."""
    anon, service = gateway.anon, gateway.service
    authorized = {"Authorization": f"Bearer {service}"}
    cors = {"Origin": "http://example.org", "Access-Control-Request-Method": "GET"}
    forged = forged_key(anon)
    return [
        (
            "GET /auth/v1/health + anon",
            200,
            ("GET", "/auth/v1/health", anon),
            lambda text: expect_json(text, name="GoTrue"),
        ),
        (
            "GET /auth/v1/health without key",
            401,
            ("GET", "/auth/v1/health"),
            lambda text: expect_json(text, message="No API key found in request"),
        ),
        (
            "GET /auth/v1/settings + anon",
            200,
            ("GET", "/auth/v1/settings", anon),
            lambda text: expect_json(text, external=None),
        ),
        (
            "GET /rest/v1/ + anon",
            200,
            ("GET", "/rest/v1/", anon),
            lambda text: expect_json(text, swagger=None, paths=None),
        ),
        ("GET /rest/v1/?apikey= (query)", 200, ("GET", f"/rest/v1/?apikey={anon}"), None),
        (
            "GET /rest/v1/ without key",
            401,
            ("GET", "/rest/v1/"),
            lambda text: expect_json(text, message="No API key found in request"),
        ),
        (
            "GET /rest/v1/ + a key that is not stored",
            401,
            ("GET", "/rest/v1/", forged),
            lambda text: expect_json(text, message="Invalid authentication credentials"),
        ),
        (
            "POST /graphql/v1 + anon",
            200,
            ("POST", "/graphql/v1", anon, {"query": "{ __typename }"}),
            lambda text: expect_json(text, data=None),
        ),
        ("POST /graphql/v1 without key", 401, ("POST", "/graphql/v1", None, {"query": "{ __typename }"}), None),
        (
            "GET /storage/v1/status",
            200,
            ("GET", "/storage/v1/status"),
            lambda text: f"expected nothing, found {text[:40]!r}" if text else None,
        ),
        ("GET /storage/v1/bucket + service", 200, ("GET", "/storage/v1/bucket", service, None, authorized), None),
        ("GET /storage/v1/metrics + anon", 403, ("GET", "/storage/v1/metrics", anon), None),
        (
            "GET /pg/health + anon",
            403,
            ("GET", "/pg/health", anon),
            lambda text: expect_json(text, message="You cannot consume this service"),
        ),
        ("GET /pg/health + service", 200, ("GET", "/pg/health", service), lambda text: expect_json(text, date=None)),
        ("GET /pg/health without key", 401, ("GET", "/pg/health"), None),
        ("GET /pg/schemas + service", 200, ("GET", "/pg/schemas", service), None),
        ("OPTIONS /rest/v1/ (CORS preflight)", 200, ("OPTIONS", "/rest/v1/", None, None, cors), None),
        ("GET /realtime/v1/websocket without key", 401, ("GET", "/realtime/v1/websocket"), None),
        ("GET /realtime/v1/api/tenants + service", (403, 404), ("GET", "/realtime/v1/api/tenants", service), None),
        ("GET /analytics/v1/ + service", 404, ("GET", "/analytics/v1/", service), None),
        (
            "GET /no-such-path",
            404,
            ("GET", "/no-such-path"),
            lambda text: expect_json(text, message="no Route matched with those values"),
        ),
    ]


def forged_key(anon):
    """A token of the right form that is not one of the two stored keys."""
    head, payload, signature = (anon.split(".") + ["", ""])[:3]
    return f"{head}.{payload}.{signature[::-1]}"


def run_row(gateway, expected, call, check):
    try:
        status, text, _ = gateway.call(*call)
    except OSError as error:
        return f"no answer: {error}"
    allowed = expected if isinstance(expected, tuple) else (expected,)
    if status not in allowed:
        return f"status {status}, expected {' or '.join(str(item) for item in allowed)}"
    return check(text) if check else None


def websocket(gateway, version):
    """101, then a phx_join on a channel answers ok."""
    address = urlsplit(gateway.endpoint)
    port = address.port or (443 if address.scheme == "https" else 80)
    with socket.create_connection((address.hostname, port), TIMEOUT_S) as plain:
        stream = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=address.hostname)
            if address.scheme == "https"
            else plain
        )
        key = base64.b64encode(os.urandom(16)).decode()
        stream.sendall(
            (
                f"GET /realtime/v1/websocket?apikey={gateway.anon}&vsn={version} HTTP/1.1\r\nHost: {address.hostname}:{port}\r\n"
                f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )
        reader = stream.makefile("rb")
        status = reader.readline().decode("latin-1").strip()
        while reader.readline() not in (b"\r\n", b""):
            pass
        if " 101 " not in status + " ":
            return f"expected 101, found {status!r}"
        topic = "realtime:smoke"
        payload = {"config": {"broadcast": {"self": False}, "presence": {"key": ""}, "postgres_changes": []}}
        message = {"topic": topic, "event": "phx_join", "payload": payload, "ref": "1"}
        if version.startswith("2"):
            message = ["1", "1", topic, "phx_join", payload]
        send_text(stream, json.dumps(message).encode())
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            reply = json.loads(read_text(reader))
            event, body = (reply[3], reply[4]) if isinstance(reply, list) else (reply["event"], reply["payload"])
            if event == "phx_reply":
                return None if body.get("status") == "ok" else f"phx_join answered {body}"
        return "no phx_reply"


def send_text(stream, payload):
    mask = os.urandom(4)
    head = (
        bytes([0x81, 0x80 | len(payload)])
        if len(payload) < 126
        else bytes([0x81, 0xFE]) + struct.pack(">H", len(payload))
    )
    stream.sendall(head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)))


def read_text(reader):
    first = reader.read(2)
    if len(first) < 2 or first[0] & 0x0F == 8:
        raise OSError("the socket was closed")
    length = first[1] & 0x7F
    if length == 126:
        length = struct.unpack(">H", reader.read(2))[0]
    elif length == 127:
        length = struct.unpack(">Q", reader.read(8))[0]
    return reader.read(length).decode()


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: smoke.py ENDPOINT ANON_KEY SERVICE_KEY")
    gateway = Gateway(*sys.argv[1:])
    rows = [
        (what, lambda e=expected, c=call, k=check: run_row(gateway, e, c, k))
        for what, expected, call, check in table(gateway)
    ]
    rows += [("WebSocket /realtime/v1/websocket vsn=1.0.0: 101, phx_join ok", lambda: websocket(gateway, "1.0.0"))]
    missed = 0
    for what, action in rows:
        begun = time.monotonic()
        try:
            problem = action()
        except (OSError, ValueError, KeyError) as error:
            problem = f"no answer: {error}"
        missed += problem is not None
        print(
            f"{'ok  ' if problem is None else 'MISS'} {(time.monotonic() - begun) * 1000:6.0f} ms  {what}"
            + (f": {problem}" if problem else "")
        )
    print(f"smoke: {len(rows)} requests, {missed} missed")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
