"""The server half of RFC 6455, as far as realtime clients use it: text frames, ping, close."""

import base64
import hashlib
import struct

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_FRAME_BYTES = 1024 * 1024


class Closed(Exception):
    """The other side has gone, or sent what may not be sent."""


def wants_upgrade(headers):
    return headers.get("Upgrade", "").lower() == "websocket" and "Sec-WebSocket-Key" in headers


def accept(handler):
    """Answers 101 on a http.server handler."""
    digest = hashlib.sha1((handler.headers["Sec-WebSocket-Key"] + _MAGIC).encode()).digest()
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
    handler.end_headers()


def read_text(handler):
    """The next text message; answers pings on the way."""
    message = b""
    while True:
        head = _exactly(handler.rfile, 2)
        final, opcode, length = head[0] & 0x80, head[0] & 0x0F, head[1] & 0x7F
        if not head[1] & 0x80:
            raise Closed("a client's frame must be masked")
        if length == 126:
            length = struct.unpack(">H", _exactly(handler.rfile, 2))[0]
        elif length == 127:
            length = struct.unpack(">Q", _exactly(handler.rfile, 8))[0]
        if length + len(message) > MAX_FRAME_BYTES:
            raise Closed("message too large")
        mask = _exactly(handler.rfile, 4)
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(_exactly(handler.rfile, length)))
        if opcode == 8:
            raise Closed("closed by the client")
        if opcode == 9:
            send(handler, payload, opcode=10)
        elif opcode in (0, 1):
            message += payload
            if final:
                return message.decode("utf-8", "replace")


def send(handler, payload, opcode=1):
    """One unmasked, final frame."""
    head = bytes([0x80 | opcode])
    if len(payload) < 126:
        head += bytes([len(payload)])
    elif len(payload) < 65536:
        head += bytes([126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([127]) + struct.pack(">Q", len(payload))
    handler.wfile.write(head + payload)
    handler.wfile.flush()


def _exactly(stream, count):
    data = stream.read(count)
    if data is None or len(data) < count:
        raise Closed("connection ended")
    return data
