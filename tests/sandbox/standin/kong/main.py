"""`kong docker-start`, `kong health`, `kong reload`."""

import asyncio
import os
import signal
import sys

from .. import startup, web
from . import config
from .proxy import MAX_HEAD_BYTES, Proxy
from .resolver import Resolver

_PID = "/tmp/kong.pid"


def load():
    enabled = [name.strip() for name in os.environ["KONG_PLUGINS"].split(",")]
    return config.load(os.environ["KONG_DECLARATIVE_CONFIG"], enabled)


def main(*arguments):
    if arguments[:1] == ("health",):
        health()
    elif arguments[:1] == ("reload",):
        os.kill(_pid(), signal.SIGHUP)
    elif arguments[:1] in (("docker-start",), ("start",)):
        start()
    else:
        sys.exit(f"Error: unknown command {' '.join(arguments)!r}: expected docker-start, health or reload")


def _pid():
    with open(_PID, encoding="ascii") as file:
        return int(file.read())


def health():
    """Looks at the process only, as the real one does."""
    try:
        os.kill(_pid(), 0)
    except (OSError, ValueError):
        sys.exit("Error: Kong is not running")
    print("Kong is healthy")


def start():
    startup.begin("kong")
    try:
        proxy = Proxy(load(), Resolver())
    except config.Invalid as error:
        startup.refuse("kong", str(error))
    status = os.environ.get("KONG_STATUS_LISTEN", "off")
    if status != "off":
        host, _, port = status.rpartition(":")
        web.serve(_status, int(port), host, forever=False)
    asyncio.run(serve(proxy))


def _status(request):
    if request.path == "/status":
        return web.Answer(200, {"server": {"connections_active": 1}, "database": {"reachable": True}})
    return web.Answer(404, {"message": "Not found"})


async def serve(proxy):
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: _reload(proxy))
    server = await asyncio.start_server(proxy.client, "0.0.0.0", 8000, limit=MAX_HEAD_BYTES)
    with open(_PID, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    print("[notice] 1#0: start worker processes", flush=True)
    async with server:
        await stopped.wait()
    os._exit(0)


def _reload(proxy):
    """The pid stays; a file that does not load leaves the old one in force."""
    try:
        proxy.gateway = load()
        print("[notice] 1#0: reconfiguring", flush=True)
    except config.Invalid as error:
        print(f"[error] 1#0: {error}", flush=True)
