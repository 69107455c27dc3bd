"""The proxy itself: one asyncio task per client connection, bodies and WebSockets streamed through."""

import asyncio
import json
import time
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

from . import plugins
from .resolver import Unresolved

MAX_HEAD_BYTES = 64 * 1024
CONNECT_S = 60
IDLE_S = 75
VIA = "kong/2.8.1"
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "transfer-encoding"}
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    431: "Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Proxy:
    def __init__(self, gateway, resolver):
        self.gateway, self.resolver = gateway, resolver

    async def client(self, reader, writer):
        """One request per connection: a probe or a test needs no more, and nothing is left half read."""
        status, size, line, agent = 400, 0, "-", "-"
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_S)
            line, headers = _parse(head)
            agent = next((value for name, value in headers if name.lower() == "user-agent"), "-")
            status, size = await self._handle(line, headers, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, asyncio.TimeoutError):
            line = None
        except (asyncio.LimitOverrunError, ValueError):
            await _answer(writer, 400, {"message": "Bad request"})
        finally:
            peer = writer.get_extra_info("peername")
            writer.close()
            if line:
                stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
                print(f'{peer[0] if peer else "-"} - - [{stamp}] "{line}" {status} {size} "-" "{agent}"', flush=True)

    async def _handle(self, line, headers, reader, writer):
        method, target, version = line.split(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(version)
        raw_path, _, query = target.partition("?")
        exchange = plugins.Exchange(method, raw_path, parse_qsl(query, keep_blank_values=True), headers)
        route = self.gateway.match(method, unquote(raw_path))
        if route is None:
            return await _answer(writer, 404, {"message": "no Route matched with those values"})
        try:
            plugins.run(exchange, route.plugins, self.gateway)
        except plugins.Ends as end:
            extra = [*exchange.reply_headers, *end.headers]
            if end.body is not None:
                return await _answer(writer, end.status, None, extra, end.body.encode(), end.content_type)
            return await _answer(writer, end.status, {"message": end.message}, extra)
        return await self._forward(exchange, route, reader, writer)

    async def _forward(self, exchange, route, reader, writer):
        service = route.service
        upstream = None
        try:
            address = await self.resolver.address(service.host)
            upstream = await asyncio.wait_for(
                asyncio.open_connection(address, service.port, limit=MAX_HEAD_BYTES), CONNECT_S
            )
        except Unresolved:
            return await _answer(writer, 503, {"message": "name resolution failed"}, exchange.reply_headers)
        except (asyncio.TimeoutError, TimeoutError):
            return await _answer(writer, 504, {"message": "The upstream server is timing out"}, exchange.reply_headers)
        except OSError:
            return await _answer(
                writer,
                502,
                {"message": "An invalid response was received from the upstream server"},
                exchange.reply_headers,
            )
        try:
            return await self._exchange(exchange, route, reader, writer, *upstream)
        finally:
            upstream[1].close()

    async def _exchange(self, exchange, route, reader, writer, up_reader, up_writer):
        service, websocket = route.service, (exchange.get("Upgrade") or "").lower() == "websocket"
        up_writer.write(_upstream_head(exchange, route, writer, websocket))
        pump = asyncio.create_task(_body(exchange, reader, up_writer))
        try:
            head = await asyncio.wait_for(up_reader.readuntil(b"\r\n\r\n"), service.read_timeout_s)
            status_line, headers = _parse(head)
            while status_line.split(" ")[1] == "100":
                status_line, headers = _parse(await up_reader.readuntil(b"\r\n\r\n"))
        except asyncio.TimeoutError:
            pump.cancel()
            return await _answer(writer, 504, {"message": "The upstream server is timing out"}, exchange.reply_headers)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, IndexError):
            pump.cancel()
            return await _answer(
                writer,
                502,
                {"message": "An invalid response was received from the upstream server"},
                exchange.reply_headers,
            )
        status = int(status_line.split(" ")[1])
        switched = status == 101 and websocket
        writer.write(_client_head(status_line, headers, exchange, switched))
        if switched:
            await pump
            back = asyncio.create_task(_pipe(reader, up_writer))
            size = await _pipe(up_reader, writer)
            back.cancel()
            return status, size
        has_body = exchange.method != "HEAD" and status not in (204, 304)
        size = await _response_body(headers, up_reader, writer, service.read_timeout_s) if has_body else 0
        pump.cancel()
        return status, size


def _parse(head):
    lines = head.decode("latin-1").split("\r\n")
    headers = []
    for row in lines[1:]:
        if row:
            name, found, value = row.partition(":")
            if not found:
                raise ValueError(row)
            headers.append((name.strip(), value.strip()))
    return lines[0], headers


def _target(exchange, route):
    """Kong's path handling v0: strip the matched path, join with one slash."""
    rest = exchange.path[len(route.path) :] if route.strip else exchange.path
    base = route.service.path
    if rest == "":
        path = base
    elif base.endswith("/") or rest.startswith("/"):
        path = base.rstrip("/") + "/" + rest.lstrip("/") if base.endswith("/") else base + rest
    else:
        path = base + "/" + rest if base != "/" else "/" + rest
    query = exchange.query()
    return path + ("?" + query if query else "")


def _upstream_head(exchange, route, writer, websocket):
    peer = writer.get_extra_info("peername")
    client = peer[0] if peer else "127.0.0.1"
    service = route.service
    port = "" if service.port == 80 else f":{service.port}"
    host = exchange.get("Host") or ""
    lines = [f"{exchange.method} {_target(exchange, route)} HTTP/1.1", f"Host: {service.host}{port}"]
    skip = {"host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"}
    for name, value in exchange.headers:
        if name.lower() in _HOP and not (name.lower() == "transfer-encoding") or name.lower() in skip:
            continue
        lines.append(f"{name}: {value}")
    forwarded = exchange.get("X-Forwarded-For")
    lines += [
        f"X-Forwarded-For: {forwarded + ', ' if forwarded else ''}{client}",
        "X-Forwarded-Proto: http",
        f"X-Forwarded-Host: {host.split(':')[0]}",
        "X-Forwarded-Port: 8000",
        f"X-Forwarded-Path: {exchange.path}",
        f"X-Forwarded-Prefix: {route.path}",
        f"X-Real-IP: {client}",
    ]
    lines += ["Connection: Upgrade", "Upgrade: websocket"] if websocket else ["Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _client_head(status_line, headers, exchange, switched):
    lines = [status_line]
    replaced = {name.lower() for name, _ in exchange.reply_headers}
    for name, value in headers:
        if name.lower() in replaced or (name.lower() in _HOP - {"transfer-encoding"} and not switched):
            continue
        lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in exchange.reply_headers]
    if not switched:
        lines += ["Connection: close", f"Via: {VIA}", "X-Kong-Proxy-Latency: 0"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _body(exchange, reader, up_writer):
    """The request's body, by length or in chunks as it came."""
    if "chunked" in (exchange.get("Transfer-Encoding") or "").lower():
        while True:
            line = await reader.readline()
            size = int(line.split(b";")[0].strip() or b"0", 16)
            up_writer.write(line + await reader.readexactly(size + 2))
            await up_writer.drain()
            if size == 0:
                return
    left = int(exchange.get("Content-Length") or 0)
    while left > 0:
        data = await reader.read(min(left, 65536))
        if not data:
            return
        left -= len(data)
        up_writer.write(data)
        await up_writer.drain()


async def _response_body(headers, up_reader, writer, idle_s):
    """Everything until the end: by length when it is known (the other side may linger), else until it closes."""
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
    size = 0
    while length is None or size < length:
        try:
            data = await asyncio.wait_for(up_reader.read(65536), idle_s)
        except asyncio.TimeoutError:
            break
        if not data:
            break
        size += len(data)
        writer.write(data)
        await writer.drain()
    return size


async def _pipe(reader, writer):
    size = 0
    try:
        while data := await reader.read(65536):
            size += len(data)
            writer.write(data)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    writer.close()
    return size


async def _answer(writer, status, message=None, headers=(), body=b"", content_type=None):
    if message is not None:
        body, content_type = json.dumps(message).encode(), "application/json; charset=utf-8"
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Length: {len(body)}",
        "Server: " + VIA,
        "Connection: close",
    ]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in headers]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
    await writer.drain()
    return status, len(body)
