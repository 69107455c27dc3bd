#!/usr/bin/env python3
"""The mutation score of the contract check: makes every small fault in a rendered stack, counts what is noticed.

usage: mutate.py FOLDER                                   score, each survivor with its reason; exit 1 below 95 %
       mutate.py FOLDER --random N --seed S --out DIR     writes N mutants that a running stack must notice
       mutate.py FOLDER --apply ID --out DIR              writes the folder with that one fault, or with `nothing`
"""

import argparse
import json
import random
import re
import sys
import tomllib
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from checker import folder, run  # noqa: E402  (the folder of this script must be on the path first)
from mutation import make, noticeable  # noqa: E402

MINIMUM_PERCENT = 95.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="a rendered project folder that meets the contract")
    parser.add_argument("--random", type=int, metavar="N", help="write N mutants that a running stack must notice")
    parser.add_argument("--seed", type=int, default=1, help="random seed, so that a red run can be repeated")
    parser.add_argument("--apply", metavar="ID", help="write the folder with this one mutant")
    parser.add_argument("--out", metavar="DIR", help="where --random and --apply write")
    arguments = parser.parse_args()
    stack = folder.read(arguments.folder)
    rows = run.violations(stack)
    if rows:
        print(*rows[:10], sep="\n")
        sys.exit(f"mutate.py: {arguments.folder} does not meet the contract itself: a score would mean nothing")
    if (arguments.random or arguments.apply) and not arguments.out:
        sys.exit("mutate.py: --random and --apply need --out DIR")
    if arguments.random:
        write_random(stack, arguments)
    elif arguments.apply == "nothing":
        write_again(stack, Path(arguments.out))
    elif arguments.apply:
        write_one(stack, find(stack, arguments.apply), arguments.folder, Path(arguments.out))
    else:
        sys.exit(score(stack))


def score(stack):
    """Prints the score and the survivors; 0 when good enough and everything is explained."""
    with open(HERE / "mutation" / "reasons.toml", "rb") as file:
        reasons = tomllib.load(file).get("reason", [])
    survivors, total = [], 0
    for mutant in make.mutants(stack):
        total += 1
        if not run.violations(make.apply(stack, mutant)):
            why = next((reason["why"] for reason in reasons if re.fullmatch(reason["match"], mutant.id)), None)
            survivors.append((mutant.id, why))
    for name, why in survivors:
        print(f"survivor {name}: {why or 'NO REASON GIVEN'}")
    percent = 100 * (total - len(survivors)) / total
    print(f"mutants {total} killed {total - len(survivors)} score {percent:.1f}%")
    unexplained = sum(1 for _, why in survivors if why is None)
    if unexplained:
        print(
            f"{unexplained} survivor(s) without a reason: tighten the contract, or explain them in mutation/reasons.toml"
        )
    return 1 if percent < MINIMUM_PERCENT or unexplained else 0


def find(stack, name):
    for mutant in make.mutants(stack):
        if mutant.id == name:
            return mutant
    sys.exit(
        f"mutate.py: no mutant {name!r} here (ids are printed by --random, or use the survivors' form file:path:change)"
    )


def write_random(stack, arguments):
    """Spread over the services and files, so that twenty are not twenty variables of auth."""
    pool = {}
    for mutant in make.mutants(stack):
        if noticeable.is_noticeable(stack, mutant, make.apply(stack, mutant)):
            place = (
                mutant.path[1] if mutant.path[0] == "services" and mutant.file == "docker-compose.yml" else mutant.file
            )
            pool.setdefault(place, []).append(mutant)
    choice = random.Random(arguments.seed)
    places = sorted(pool)
    choice.shuffle(places)
    for place in places:
        choice.shuffle(pool[place])
    chosen = []
    while len(chosen) < arguments.random and any(pool.values()):
        for place in places:
            if pool[place] and len(chosen) < arguments.random:
                chosen.append(pool[place].pop())
    for index, mutant in enumerate(chosen):
        write_one(stack, mutant, arguments.folder, Path(arguments.out) / f"{index:02d}")
        print(f"{index:02d} {mutant.id}")


def write_one(stack, mutant, source, target):
    """The source folder's files with the mutant's one rewritten, and `mutant.json` beside them."""
    applied = make.apply(stack, mutant)
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o700)
    for name, mode in applied.modes.items():
        path = target / name
        path.write_text(
            text_of(name, applied) if name == mutant.file else (Path(source) / name).read_text(encoding="utf-8"),
            encoding="utf-8",
        )
        path.chmod(mode)
    row = {"id": mutant.id, "file": mutant.file, "path": mutant.path, "change": mutant.change}
    (target / "mutant.json").write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")


def write_again(stack, target):
    """Every file as this script writes it, without a fault: the control of a run with faults."""
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(0o700)
    for name, mode in stack.modes.items():
        (target / name).write_text(text_of(name, stack), encoding="utf-8")
        (target / name).chmod(mode)


def text_of(name, stack):
    if name == "init.sql":
        return stack.init_sql
    if name == "pgsodium_root.key":
        return stack.root_key
    if name == ".env":
        return "".join(f"{key}={value}\n" for key, value in stack.env.items())
    document = {"docker-compose.yml": stack.compose, "kong.yml": stack.kong, "vector.yml": stack.vector}[name]
    return yaml.dump(document, Dumper=Quoting, sort_keys=False, allow_unicode=True, width=1000)


class Quoting(yaml.SafeDumper):
    """Text stays text for every reader: `65521:65521` without quotes is a number to YAML 1.1."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


if __name__ == "__main__":
    main()
