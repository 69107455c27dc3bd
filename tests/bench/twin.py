"""Compose's side: the folder that we rendered, under a second ref with ports, subnet and data of its own.

Why not the folder itself: Compose takes it for the running project (decision 40). What has to differ is replaced in
the text of the rendered files, so that everything else stays byte for byte what our side starts.
"""

import ipaddress
import os
import re
import secrets
import shutil
import string
import subprocess
import time
from pathlib import Path

import yaml

import engine

UP_S = 900
DOWN_S = 300


class ComposeError(Exception):
    """What Compose said."""


class Twin:
    """A copy of a rendered folder that Compose v2 starts and stops."""

    def __init__(self, program, rendered, folder, *, api_port, db_port, subnet, check_interval=None):
        """`check_interval` (seconds) replaces the interval of every health check; None leaves them as rendered."""
        self.program, self.folder = program, Path(folder)
        self.ref = "bench" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(15))
        self.host, self.api_port, self.db_port = "127.0.0.1", api_port, db_port
        stack = yaml.safe_load((rendered / "docker-compose.yml").read_text())
        self.database_image = stack["services"]["db"]["image"]
        replace = replacements(stack, self, subnet)
        self.folder.mkdir(parents=True, mode=0o700)
        for path in rendered.iterdir():
            if path.is_file():
                text = replace(path.read_text())
                if check_interval and path.name == "docker-compose.yml":
                    text = re.sub(r"(?m)^(\s+interval:) \S+$", rf"\1 {check_interval}s", text)
                target = self.folder / path.name
                target.touch(mode=0o600)
                target.write_text(text)
                target.chmod(path.stat().st_mode & 0o777)
        # The folders exist before anything is bound to them (decision 8).
        for name in sorted(set(re.findall(r"/volumes/([a-z][a-z0-9-]*)", (self.folder / "docker-compose.yml").read_text()))):
            (self.folder / "volumes" / name).mkdir(parents=True)
        self.compose("config", "--quiet", limit_s=60)

    def up(self):
        """Until `up --wait` returns: every service running, and healthy where it has a check."""
        self.compose("up", "--detach", "--wait", "--wait-timeout", str(UP_S), limit_s=UP_S + 30)

    def down(self):
        """Seconds of `down -v`, and of that with the removal of the folder, which our delete does as well."""
        begun = time.monotonic()
        self.compose("down", "--volumes", limit_s=DOWN_S)
        down = time.monotonic() - begun
        self.remove_folder()
        return down, time.monotonic() - begun

    def discard(self):
        """After a failure: whatever is left of it."""
        left = engine.remove(f"com.docker.compose.project={self.ref}")
        if left:
            print(f"bench: removed what an interrupted round had left of Compose's side: {left}")
        if self.folder.exists():
            self.remove_folder()

    def compose(self, *arguments, limit_s):
        # Its own project name, whatever the environment says.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COMPOSE_")}
        command = [self.program, "--project-name", self.ref, "--progress", "plain", *arguments]
        log = self.folder.parent / "compose.log"
        with open(log, "ab") as output:
            try:
                done = subprocess.run(
                    command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=limit_s)
            except subprocess.TimeoutExpired as error:
                raise ComposeError(f"`compose {arguments[0]}` did not end within {limit_s} s; see {log}") from error
        if done.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").strip().splitlines()[-5:])
            raise ComposeError(f"`compose {' '.join(arguments)}` ended with {done.returncode}; {log} ends with:\n{tail}")

    def remove_folder(self):
        try:
            shutil.rmtree(self.folder)
        except PermissionError:
            # Containers leave files of other users behind; only a container can remove them for somebody who is not root.
            engine.docker("run", "--rm", "--user", "0", "--network", "none", "--entrypoint", "rm",
                          "--volume", f"{self.folder}/volumes:/volumes", self.database_image,
                          "-rf", *(f"/volumes/{path.name}" for path in (self.folder / "volumes").iterdir()))
            shutil.rmtree(self.folder)


def replacements(stack, twin, subnet):
    """A function from our text to the twin's."""
    ref = stack["name"]
    home = next(iter(stack["volumes"].values()))["driver_opts"]["device"].partition("/volumes/")[0]
    network = ipaddress.ip_network(stack["networks"]["default"]["ipam"]["config"][0]["subnet"])
    target = ipaddress.ip_network(subnet)
    if network.prefixlen != target.prefixlen:
        raise ValueError(f"the rendered subnet is {network}, the twin's {target}: they must be of one size")
    shift = int(target.network_address) - int(network.network_address)
    ports = {published(stack, 8000): twin.api_port, published(stack, 5432): twin.db_port}

    def address(match):
        found = ipaddress.ip_address(match[0])
        return str(found + shift) if found in network else match[0]

    def replace(text):
        text = text.replace(home, str(twin.folder)).replace(ref, twin.ref)
        text = re.sub(r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b", address, text)
        return re.sub(r":(%s)(?!\d)" % "|".join(map(str, ports)), lambda match: f":{ports[int(match[1])]}", text)

    return replace


def published(stack, container_port):
    for service in stack["services"].values():
        for port in service.get("ports", []):
            host, _, inside = port.rpartition(":")
            if inside == str(container_port):
                return int(host.rpartition(":")[2])
    raise ValueError(f"the rendered stack publishes no container port {container_port}")
