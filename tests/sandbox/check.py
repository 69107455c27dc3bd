#!/usr/bin/env python3
"""Holds a rendered stack against the contract of its images; needs no engine.

usage: check.py FOLDER [--images SET]     SET is a name in templates/images (supabase, sandbox, ...) or a file
       check.py --set FOLDER              a template set's declarations (set.toml) instead of a rendered stack

Prints one line per violation (file: service: key: expected ..., found ...) and exits 1 when there is one.
"""

import argparse
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from checker import declaration, folder, run  # noqa: E402  (the folder of this script must be on the path first)


def image_set(name):
    """The `[images]` of a set, by name or by file."""
    path = Path(name) if name.endswith(".toml") else HERE.parent.parent / "templates" / "images" / f"{name}.toml"
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)["images"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        sys.exit(f"check.py: --images {name}: cannot read {path}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="a rendered project folder (docker-compose.yml, kong.yml, ...)")
    parser.add_argument("--images", metavar="SET", help="compare every image with this image set")
    parser.add_argument("--set", metavar="FOLDER", help="check a template set's set.toml")
    arguments = parser.parse_args()
    if arguments.set:
        report(arguments.set, declaration.check(arguments.set, run.contracts()))
    if arguments.folder is None:
        parser.error("name a rendered folder, or --set FOLDER")
    if not Path(arguments.folder).is_dir():
        sys.exit(f"check.py: {arguments.folder}: no such folder")
    images = image_set(arguments.images) if arguments.images else None
    report(arguments.folder, run.violations(folder.read(arguments.folder), images))


def report(what, rows):
    """Prints the violations and ends: 1 when there are any."""
    for row in rows:
        print(row)
    print(f"{what}: {len(rows)} violation(s)" if rows else f"{what}: the contract is met")
    sys.exit(1 if rows else 0)


if __name__ == "__main__":
    main()
