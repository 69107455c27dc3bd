"""Names of upstreams, with Kong's two caches.

KONG_DNS_VALID_TTL decides how long a good answer is kept (600 s, the engine's own, when it is unset) and
KONG_DNS_NOT_FOUND_TTL how long a failed one is; an order that asks for SRV first fails for the engine's names.
"""

import asyncio
import os
import socket
import time


class Unresolved(Exception):
    """Kong's `name resolution failed`."""


class Resolver:
    def __init__(self):
        order = [item.strip().upper() for item in os.environ.get("KONG_DNS_ORDER", "LAST,SRV,A,CNAME").split(",")]
        self.usable = "A" in order and "SRV" not in order[: order.index("A")]
        self.valid_s = float(os.environ.get("KONG_DNS_VALID_TTL") or 600)
        self.not_found_s = float(os.environ.get("KONG_DNS_NOT_FOUND_TTL") or 30)
        self.known = {}

    async def address(self, name):
        now = time.monotonic()
        until, address = self.known.get(name, (0, None))
        if until < now:
            address = await self._ask(name) if self.usable else None
            self.known[name] = (now + (self.valid_s if address else self.not_found_s), address)
        if address is None:
            raise Unresolved(name)
        return address

    async def _ask(self, name):
        try:
            rows = await asyncio.get_running_loop().getaddrinfo(
                name, None, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
        except OSError:
            return None
        return rows[0][4][0] if rows else None
