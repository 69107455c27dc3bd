"""The same proofs from outside for both sides (decision 40): only over the two published ports, only with what is in
the rendered folder. Compose calls a service without a check healthy as soon as it runs; these do not.

Seven of the ten services answer here. imgproxy, analytics and vector are not published; what they are for is reached
through the others.
"""

import base64
import http.client
import os
import subprocess
import threading
import time
from pathlib import Path

# One answer. A service that is up answers in milliseconds.
ANSWER_S = 3
# Between two looks at what did not answer yet: half of it is the mean error of "usable".
PAUSE_S = 0.2


def read_env(folder):
    values = {}
    for line in (Path(folder) / ".env").read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.strip().strip("'\"")
    return values


class Outside:
    """The proofs of one stack. `failing` asks each once; `watch` finds out when each answered first."""

    def __init__(self, host, api_port, db_port, env):
        self.host, self.api_port, self.db_port, self.env = host, api_port, db_port, env
        anon, service = env["ANON_KEY"], env["SERVICE_ROLE_KEY"]
        self.proofs = {
            "db": self.sql,
            "kong": lambda: self.get("/") == 404,
            "kong refuses without a key": lambda: self.get("/rest/v1/") == 401,
            "auth": lambda: self.get("/auth/v1/health", anon) == 200,
            "rest": lambda: self.get("/rest/v1/", anon) == 200,
            "storage": lambda: self.get("/storage/v1/status") == 200,
            "meta": lambda: self.get("/pg/schemas", service) == 200,
            "realtime": lambda: self.websocket(anon) == 101,
        }

    def failing(self):
        return [name for name, proof in self.proofs.items() if not self.holds(proof)]

    def confirm(self, limit_s):
        """Waits until all hold at once. Names what does not after `limit_s`."""
        give_up = time.monotonic() + limit_s
        while failing := self.failing():
            if time.monotonic() > give_up:
                raise TimeoutError(f"after {limit_s} s there is still no proof from outside for: {', '.join(failing)}")
            time.sleep(PAUSE_S)

    @staticmethod
    def holds(proof):
        try:
            return proof()
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired):
            return False

    def get(self, path, key=None, headers=()):
        connection = http.client.HTTPConnection(self.host, self.api_port, timeout=ANSWER_S)
        try:
            keys = {"apikey": key, "Authorization": f"Bearer {key}"} if key else {}
            connection.request("GET", path, headers={**keys, **dict(headers)})
            return connection.getresponse().status
        finally:
            connection.close()

    def websocket(self, key):
        handshake = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        }
        return self.get(f"/realtime/v1/websocket?apikey={key}&vsn=1.0.0", headers=handshake)

    def sql(self):
        """A login that both sides have: the owner's password exists only where a daemon has set it."""
        address = f"host={self.host} port={self.db_port} user=supabase_admin dbname=postgres connect_timeout={ANSWER_S}"
        done = subprocess.run(
            ["psql", address, "-XAtc", "select 6 * 7"],
            env={**os.environ, "PGPASSWORD": self.env["SUPABASE_ADMIN_PASSWORD"]},
            capture_output=True, text=True, timeout=2 * ANSWER_S,
        )
        return done.stdout.strip() == "42"


class Watch:
    """Looks from another thread until every proof has held once: `with Watch(outside) as watch: ...`."""

    def __init__(self, outside):
        self.outside = outside
        self.usable_at = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def look(self):
        waiting = dict(self.outside.proofs)
        while waiting and not self.over.wait(PAUSE_S):
            waiting = {name: proof for name, proof in waiting.items() if not self.outside.holds(proof)}
            if not waiting:
                self.usable_at = time.monotonic()
