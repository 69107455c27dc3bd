"""A rendered folder as parsed files, and the facts that several checks need."""

import ipaddress
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

try:
    import yaml
except ImportError:
    raise SystemExit("the contract checker needs Debian's python3-yaml: tests/setup/packages.sh python3-yaml") from None


@dataclass(frozen=True, order=True)
class Violation:
    """One line of the checker's answer."""

    file: str
    service: str
    key: str
    expected: str
    found: str

    def __str__(self):
        where = f"{self.file}: {self.service}: " if self.service else f"{self.file}: "
        return f"{where}{self.key}: expected {self.expected}, found {self.found}"


@dataclass
class Stack:
    """The six files. A file that could not be read or parsed is None and has a violation in `broken`."""

    compose: dict | None = None
    kong: dict | None = None
    vector: dict | None = None
    init_sql: str | None = None
    root_key: str | None = None
    env: dict | None = None
    modes: dict = field(default_factory=dict)
    broken: list = field(default_factory=list)


class StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice: PyYAML would keep the last one silently."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is there twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(folder):
    """The stack of a folder on disk."""
    stack = Stack()
    folder = Path(folder)
    for name, attribute, parse in (
        ("docker-compose.yml", "compose", _yaml),
        ("kong.yml", "kong", _yaml),
        ("vector.yml", "vector", _yaml),
        ("init.sql", "init_sql", str),
        ("pgsodium_root.key", "root_key", str),
        (".env", "env", _env),
    ):
        path = folder / name
        try:
            text = path.read_text(encoding="utf-8")
            stack.modes[name] = stat.S_IMODE(os.stat(path).st_mode)
            setattr(stack, attribute, parse(text))
        except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
            stack.broken.append(
                Violation(name, "", "file", "a readable, well-formed file", " ".join(str(error).split()))
            )
    return stack


def _yaml(text):
    data = yaml.load(text, Loader=StrictLoader)
    if not isinstance(data, dict):
        raise ValueError("not a map")
    return data


def _env(text):
    rows = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        name, found, value = line.partition("=")
        if not found or re.fullmatch("[A-Z][A-Z0-9_]*", name) is None:
            raise ValueError(f"line {number}: not NAME=value")
        if name in rows:
            raise ValueError(f"line {number}: {name} is there twice")
        rows[name] = value
    return rows


def facts(stack):
    """What other places of the stack must agree with: ref, endpoint, vector's address, the plugins in use."""
    compose = stack.compose or {}
    services = compose.get("services") or {}
    rows = {"ref": str(compose.get("name", ""))}
    for port in _list((services.get("kong") or {}).get("ports")):
        match = re.fullmatch(r"(\d+\.\d+\.\d+\.\d+):(\d+):8000", str(port))
        if match:
            rows["endpoint"] = f"http://{match[1]}:{match[2]}"
    networks = (services.get("vector") or {}).get("networks")
    address = (networks.get("default") or {}).get("ipv4_address") if isinstance(networks, dict) else None
    rows["fluentd_address"] = f"{address}:24224"
    return rows


def _list(value):
    return value if isinstance(value, list) else []


def subnet(stack):
    """The project's network as ipaddress objects (subnet, gateway, dynamic range), or None."""
    try:
        config = stack.compose["networks"]["default"]["ipam"]["config"][0]
        return (
            ipaddress.ip_network(config["subnet"]),
            ipaddress.ip_address(config["gateway"]),
            ipaddress.ip_network(config["ip_range"]),
        )
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def resolved(text, env):
    """`${NAME}` replaced by its value, so that a file is judged alike before and after substitution."""
    return re.sub(r"\$\{([A-Z][A-Z0-9_]*)\}", lambda match: (env or {}).get(match[1], match[0]), text)
