"""Reads the contract files.

One file per image plus common.toml (what holds for all ten), secrets.toml (shape of every generated value),
gateway.toml, vector-pipeline.toml and database.toml. Nothing here judges; see rules.py.
"""

import functools
import tomllib
from pathlib import Path

SERVICES = ("db", "kong", "auth", "rest", "realtime", "storage", "imgproxy", "meta", "analytics", "vector")

_HERE = Path(__file__).resolve().parent.parent / "contract"


def read(name, folder=None):
    """The parsed contract file `<name>.toml`."""
    path = Path(folder or _HERE) / f"{name}.toml"
    with open(path, "rb") as file:
        return tomllib.load(file)


def services(folder=None):
    """Service name -> its contract."""
    return {name: read(name, folder) for name in SERVICES}


@functools.lru_cache(maxsize=1)
def image_sets():
    """The `[images]` of every set in templates/images; none inside a container."""
    folder = _HERE.parent.parent.parent / "templates" / "images"
    found = []
    for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
        with open(path, "rb") as file:
            found.append(tomllib.load(file).get("images", {}))
    return found
