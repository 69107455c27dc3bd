"""A small threaded HTTP server: one function from request to answer. Enough for probes and a few clients."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

# The largest upload the storage stand-in takes; everything else sends a few kilobytes.
MAX_BODY_BYTES = 60 * 1024 * 1024
_IDLE_S = 65


class Request:
    """One request, read completely."""

    def __init__(self, handler, body):
        parts = urlsplit(handler.path)
        self.method = handler.command
        self.raw_path = parts.path
        self.path = unquote(parts.path)
        self.pairs = parse_qsl(parts.query, keep_blank_values=True)
        self.query = dict(self.pairs)
        self.headers = handler.headers
        self.body = body
        self.handler = handler

    def json(self):
        return json.loads(self.body) if self.body else None

    def bearer(self):
        """The token of the Authorization header, or None."""
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if kind.lower() == "bearer" and token else None


class Answer:
    """Status, body and headers; a dict or list becomes JSON."""

    def __init__(self, status, body=b"", headers=None):
        self.status = status
        self.headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            self.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        self.body = body.encode() if isinstance(body, str) else body


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True


class _DualStack(_Server):
    """Listens on IPv6 and IPv4, as the Erlang services do."""

    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def serve(answer, port, host="0.0.0.0", access=None, forever=True):
    """Serves `answer(request) -> Answer | None` (None: the function took the connection over)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _IDLE_S

        def _any(self):
            body = self._body()
            if body is None:
                return
            reply = answer(Request(self, body))
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status >= 200 and reply.status not in (204, 304):
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        def _body(self):
            if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
                return self._chunks()
            length = self.headers.get("Content-Length", "0")
            if not length.isdigit() or int(length) > MAX_BODY_BYTES:
                self.send_error(413)
                self.close_connection = True
                return None
            return self.rfile.read(int(length))

        def _chunks(self):
            whole = b""
            while True:
                size = int(self.rfile.readline(64).split(b";")[0].strip() or b"0", 16)
                if size == 0:
                    while self.rfile.readline(8192) not in (b"\r\n", b"\n", b""):
                        pass
                    return whole
                if len(whole) + size > MAX_BODY_BYTES:
                    self.send_error(413)
                    self.close_connection = True
                    return None
                whole += self.rfile.read(size)
                self.rfile.readline(8)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _any

        def log_message(self, format, *args):
            if access is not None:
                access(self, format % args)

    server = (_DualStack if host == "::" else _Server)((host, port), Handler)
    if forever:
        server.serve_forever()
    else:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
