"""Our side: the real binary as an operator starts it, on a data folder of its own, spoken to over REST."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import engine

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target/debug/supamanager"
# Between two looks at an operation: half of it is the mean error of our figures. A look reads one row; a look at the
# project would also list containers, and slow down what is measured.
POLL_S = 0.1
START_S = 60
CREATE_S = 900
DELETE_S = 300


class DaemonError(Exception):
    """What went wrong, with the place to look."""


class Daemon:
    """`with Daemon(...)`: started and ready; stopped at the end, with its data folder and everything on the engine gone."""

    def __init__(self, folder, image_set, *, first_port, pool):
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "daemon.log"
        self.url = f"http://127.0.0.1:{first_port + 20}"
        self.token = None
        self.process = None
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SUPAMANAGER_")}
        self.environment = {
            **inherited,
            "SUPAMANAGER_LISTEN": f"127.0.0.1:{first_port + 20}",
            "SUPAMANAGER_DATA_DIR": str(self.data),
            "SUPAMANAGER_PLUGINS_DIR": str(ROOT / "target/plugins"),
            "SUPAMANAGER_TEMPLATES_DIR": str(ROOT / "templates"),
            "SUPAMANAGER_IMAGE_SET": image_set,
            "SUPAMANAGER_PORTS_API": f"{first_port}-{first_port + 9}",
            "SUPAMANAGER_PORTS_DB": f"{first_port + 10}-{first_port + 19}",
            # The rounds follow each other at once: nothing rests between them.
            "SUPAMANAGER_PORTS_REST_S": "0",
            "SUPAMANAGER_SUBNETS_POOL": pool,
            "SUPAMANAGER_LOG_FORMAT": "json",
            "SUPAMANAGER_LOG_FILTER": "info,supamanager::spans=debug",
        }

    def __enter__(self):
        if not BINARY.is_file():
            raise DaemonError(f"{BINARY} is missing: make plugins")
        self.data.mkdir(parents=True, mode=0o700)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve"], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        try:
            self.wait_for("/readyz")
            made = subprocess.run(
                [BINARY, "token", "create", "--name", "bench"],
                env=self.environment, capture_output=True, text=True, timeout=START_S, check=True)
            self.token = made.stdout.strip()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        installation = self.data / "installation"
        if installation.is_file():
            left = engine.remove(f"io.supamanager.installation={installation.read_text().strip()}")
            if left:
                print(f"bench: removed what an interrupted round had left: {left}")
        shutil.rmtree(self.data, ignore_errors=True)

    def wait_for(self, path):
        give_up = time.monotonic() + START_S
        while True:
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > give_up:
                    tail = self.log.read_text(errors="replace").strip().splitlines()[-3:]
                    raise DaemonError(f"the daemon does not answer {path}; {self.log} ends with:\n" + "\n".join(tail)) from None
                time.sleep(0.1)

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise DaemonError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error

    def accept(self):
        """Asks for a project: (its id, its operation, monotonic and Unix time of the request)."""
        begun, posted_ms = time.monotonic(), time.time() * 1000
        created = self.call("POST", "/platform/projects", {"name": "bench"})
        return created["id"], created["operation_id"], begun, posted_ms

    def until_ended(self, operation, limit_s):
        """The operation once it has succeeded; anything else is an error that says why."""
        give_up = time.monotonic() + limit_s
        while True:
            found = self.call("GET", f"/platform/operations/{operation}")
            if found["state"] == "succeeded":
                return found
            if found["state"] == "failed":
                error = self.call("GET", f"/platform/projects/{found['project_id']}").get("error")
                raise DaemonError(f"the {found['kind']} of {found['project_id']} failed: {json.dumps(error, indent=1)}")
            if time.monotonic() > give_up:
                raise DaemonError(f"the {found['kind']} of {found['project_id']} is {found['state']} after {limit_s} s; see {self.log}")
            time.sleep(POLL_S)

    def delete(self, project):
        """Seconds until nothing is left."""
        begun = time.monotonic()
        accepted = self.call("DELETE", f"/platform/projects/{project}", {"confirm": project})
        self.until_ended(accepted["operation_id"], DELETE_S)
        return time.monotonic() - begun

    def rendered(self, project):
        return self.data / "projects" / project
