"""What plugins cost: criterion's lines for one render and one probe call (daemon/benches/plugin_calls.rs), and the table of
daemon/benches/plugin_figures.rs: an empty call beside an exec hook, loads, memory, and how soon a hostile guest is back.
Extism's lines come from tests/bench/extism."""

import os
import re
import shlex
import subprocess

from daemon import ROOT

# On two cores the bench itself takes a minute; the rest is a first compilation.
LIMIT_S = 1800
# `name   time: [low typical high]`, or the name on the line before.
TIMES = re.compile(r"^(?P<name>\S.*?)?\s*time:\s+\[(?P<low>\S+ \S+) (?P<typical>\S+ \S+) (?P<high>\S+ \S+)\]")
# `name   93 us p50   164 us p99`
TYPICAL = re.compile(r"^(?P<name>\S.*?)\s+(?P<p50>[\d.]+) us p50\s+[\d.]+ us p99$", re.MULTILINE)


def run(log):
    """[(call, low, typical, high)]."""
    return parse(_bench("plugin_calls", log))


def figures(log):
    """The table, as it is printed."""
    text = _bench("plugin_figures", log)
    return text[text.index("plugins, "):].rstrip()


def beside(log, ours):
    """The same call in Extism, where it builds, and how it compares to `ours`, the table of figures()."""
    try:
        text = _cargo("run", "--locked", "--quiet", "--manifest-path", "tests/bench/extism/Cargo.toml",
                      "--target-dir", "target/extism", log=log)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return f"Extism does not build or run here: {error}"
    return "\n".join([*(line for line in text.splitlines() if TYPICAL.search(line)), *ratios(text, ours)])


def ratios(theirs, ours):
    """A line for each of theirs: how often our empty call fits into it."""
    typical = {match["name"].strip(): float(match["p50"]) for match in TYPICAL.finditer(ours)}
    empty = next(value for name, value in typical.items() if name.startswith("empty probe call"))
    return [f"{match['name'].strip() + ' over ours':<44} {float(match['p50']) / empty:>9.2f}x at p50" for match in TYPICAL.finditer(theirs)]


def _bench(name, log):
    """What the bench prints, from the profile that the measured daemon is built with."""
    return _cargo("bench", "--locked", "--profile", "dev", "--workspace", "--bench", name, log=log)


def _cargo(*arguments, log):
    command = [*shlex.split(os.environ.get("CARGO", "cargo")), *arguments]
    with open(log, "w", encoding="utf-8") as output:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "SUPAMANAGER_PLUGINS_DIR": str(ROOT / "target/plugins")},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT_S)
    text = log.read_text(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}; {log} ends with:\n" + "\n".join(text.splitlines()[-8:]))
    return text


def parse(text):
    found, before = [], ""
    for line in text.splitlines():
        if match := TIMES.match(line):
            found.append(((match["name"] or before).strip(), match["low"], match["typical"], match["high"]))
        elif line.strip():
            before = line
    return found
