"""`make bench`: creates, deletes and plugin calls, measured in one run on one engine; then a fleet at rest on the fake one.

The contenders take turns, and a different one begins each round, so that a slow minute of the machine meets all of
them. One create of ours comes first and does not count: it warms the page cache, and its rendered folder is what
Compose gets.
"""

import argparse
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys

import engine
import fleet
import plugin_calls
from daemon import ROOT, DaemonError
from rounds import COMPOSE, EVERY_SECOND, OURS, Bench
from tables import Report, ratio, spread
from twin import ComposeError


def main():
    chosen = choices()
    # A stop from outside is an end like any other: containers and folders go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if chosen.what == "fleet":
        sys.exit(only_fleet(chosen))
    program = chosen.compose or compose_program()
    folder = ROOT / "target/bench"
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder, "data", "twin", "rendered")
    # Nothing of an earlier run is taken for this one's.
    for name in ("compose.log", "daemon.log", "spans.jsonl", "plugin_calls.txt", "plugin_figures.txt", "extism.txt"):
        (folder / name).unlink(missing_ok=True)
    report = Report(folder / "report.txt")
    about(report, program, chosen)
    try:
        bench = Bench(folder, program, chosen.image_set)
        bench.run(chosen.rounds)
        tell_creates(report, bench)
        complete = tell_own_time(report, bench)
        tell_deletes(report, bench)
        if not chosen.no_plugin_calls:
            tell_plugin_calls(report, folder)
        if not chosen.no_fleet:
            tell_fleet(report, chosen)
        complete = tell_left(report, bench) and complete
    except (DaemonError, ComposeError, engine.EngineError, TimeoutError, RuntimeError, ValueError) as error:
        report.say(f"bench: {error}")
        complete = False
    finally:
        clear(folder, "twin", "rendered")
    report.say(f"\nreport: {report.path.relative_to(ROOT)}, spans: target/bench/spans.jsonl")
    sys.exit(0 if complete else 1)


def choices():
    arguments = argparse.ArgumentParser(description="Measures creates, deletes and plugin calls; prints tables.")
    arguments.add_argument("what", nargs="?", choices=("all", "fleet"), default="all",
                           help="fleet: only what many projects cost, on the fake engine; needs no Docker")
    arguments.add_argument("--rounds", type=int, default=3, help="creates per contender (default 3)")
    arguments.add_argument("--image-set", default="sandbox", help="a name under templates/images (default sandbox)")
    arguments.add_argument("--compose", metavar="PROGRAM", help="Docker Compose v2 (default: what tests/setup/compose.sh finds)")
    arguments.add_argument("--no-plugin-calls", action="store_true", help="leave out the cost of single plugin calls")
    arguments.add_argument("--no-fleet", action="store_true", help="leave out what many projects cost")
    arguments.add_argument("--projects", default="10,100,900", help="sizes of the fleets (default 10,100,900)")
    arguments.add_argument("--seconds", type=int, default=60, help="how long each fleet is watched at rest (default 60)")
    arguments.add_argument("--release", action="store_true", help="build the fleet's bench in the release profile")
    chosen = arguments.parse_args()
    if chosen.rounds < 1:
        arguments.error(f"--rounds is {chosen.rounds}: give a number from 1 on")
    if not (ROOT / f"templates/images/{chosen.image_set}.toml").is_file():
        arguments.error(f"--image-set is {chosen.image_set}: there is no templates/images/{chosen.image_set}.toml")
    return chosen


def only_fleet(chosen):
    folder = ROOT / "target/bench"
    folder.mkdir(parents=True, exist_ok=True)
    # The report of a whole run stays.
    report = Report(folder / "fleet.txt")
    report.say(f"host      {os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.1f} at the start")
    try:
        tell_fleet(report, chosen)
    except (RuntimeError, OSError) as error:
        report.say(f"bench: {error}")
        return 1
    report.say(f"\nreport: {report.path.relative_to(ROOT)}")
    return 0


def tell_fleet(report, chosen):
    report.say()
    for line in fleet.run(chosen.projects, chosen.seconds, chosen.release):
        report.say(line)


def compose_program():
    found = subprocess.run(["sh", ROOT / "tests/setup/compose.sh"], stdout=subprocess.PIPE, text=True, timeout=900)
    if found.returncode != 0:
        sys.exit(found.returncode)
    return found.stdout.strip().splitlines()[-1]


def clear(folder, *names):
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)


def about(report, program, chosen):
    version = subprocess.run([program, "version"], capture_output=True, text=True, timeout=20).stdout.strip()
    report.title("setup")
    report.say(f"engine    {engine.about()}")
    report.say(f"compose   {version}")
    report.say(f"host      {os.cpu_count()} cores, Linux {platform.release()}, load {os.getloadavg()[0]:.1f} at the start")
    report.say(f"images    set {chosen.image_set}")
    report.say("daemon    target/debug/supamanager: development profile, dependencies optimised")
    report.say(f"rounds    {chosen.rounds} of each, taking turns, after one create that does not count")


def tell_creates(report, bench):
    report.title("create to healthy: median (fastest - slowest)")
    rows = [
        (name, spread(times.proven), spread(times.healthy), spread(times.usable), ratio(times.proven, bench.times[COMPOSE].proven))
        for name, times in bench.times.items()
    ]
    report.table(("", "reported and proven", "reported healthy", "first usable", "of compose"), rows)
    report.say()
    report.say("Ours is from the POST to ACTIVE_HEALTHY and includes rendering and the owner's password. Both sides then have to give")
    report.say("the same proofs over the published ports: SQL, gateway, auth, rest, storage, meta and a realtime socket.")
    report.say("Compose waits for the engine's own checks, whose first result comes a whole interval late (30 s in the rendered")
    report.say(f"file); \"{EVERY_SECOND}\" shows what is left of the difference without that.")
    report.say(f"Load of the machine after each turn: {min(bench.loads):.1f} to {max(bench.loads):.1f} on {os.cpu_count()} cores.")
    if min(bench.loads) > 2 * os.cpu_count():
        report.say("That is a busy machine: something else ran all the time, and these figures are not to be compared with others.")


def tell_own_time(report, bench):
    report.title("our own overhead: a create without engine calls and readiness waits")
    if not all(create.measured() for create in bench.creates):
        report.say("not measured: the daemon's log has no spans of a create; see target/bench/daemon.log")
        return False
    shares = [create.shares() for create in bench.creates]
    column = {key: [share[key] / 1000 for share in shares] for key in shares[0]}
    report.table(("", "median (fastest - slowest)"), [
        ("whole create", spread(column["total"])),
        ("an engine call was open", spread(column["engine"])),
        ("only a readiness wait was open", spread(column["wait"])),
        ("our own", spread(column["own"])),
        ("our own, with what follows readiness", spread(column["strict"])),
    ])
    report.say()
    report.say("The last line also counts as ours what a wait takes after the last look that found something missing: the pause")
    report.say("before the next look, and looking twice.")
    report.say()
    tables = [create.by_step() for create in bench.creates]
    median = lambda step, key: f"{statistics.median(table[step][key] for table in tables if step in table):.0f}"
    keys = ("total", "engine", "wait", "own", "strict")
    report.table(("medians in ms, by step", "whole", "engine", "waiting", "own", "own, strict"),
                 [(step, *(median(step, key) for key in keys)) for step in tables[0]])
    return True


def tell_deletes(report, bench):
    report.title("delete: median (fastest - slowest)")
    rows = [(name, spread(times.gone), spread(times.cleared)) for name, times in bench.times.items() if name != EVERY_SECOND]
    rows[1] = ("compose down -v", *rows[1][1:])
    report.table(("", "nothing on the engine", "and the folder is gone"), rows)
    report.say(f"ratio {ratio(bench.times[OURS].cleared, bench.times[COMPOSE].cleared)}; ours is from the DELETE to DELETED, which includes the folder")


def tell_plugin_calls(report, folder):
    report.title("one plugin call (criterion: low, typical, high)")
    rows = plugin_calls.run(folder / "plugin_calls.txt")
    if not rows:
        raise RuntimeError(f"the plugin bench printed no times; see {folder / 'plugin_calls.txt'}")
    report.table(("call", "low", "typical", "high"), rows)
    report.title("the plugin host")
    ours = plugin_calls.figures(folder / "plugin_figures.txt")
    report.say(ours)
    report.say(plugin_calls.beside(folder / "extism.txt", ours))


def tell_left(report, bench):
    left = bench.left()
    report.title("left on the engine")
    report.say("nothing" if not left else ", ".join(f"{kind} {' '.join(ids)}" for kind, ids in left.items()))
    return not left


if __name__ == "__main__":
    main()
