"""What plugins cost: criterion's lines for one render and one probe call (daemon/benches/plugin_calls.rs), and the table of
daemon/benches/plugin_figures.rs: an empty call beside an exec hook, loads, memory, and how soon a hostile guest is back."""

import os
import re
import shlex
import subprocess

from daemon import ROOT

# On two cores the bench itself takes a minute; the rest is a first compilation.
LIMIT_S = 1800
# `name   time: [low typical high]`, or the name on the line before.
TIMES = re.compile(r"^(?P<name>\S.*?)?\s*time:\s+\[(?P<low>\S+ \S+) (?P<typical>\S+ \S+) (?P<high>\S+ \S+)\]")


def run(log):
    """[(call, low, typical, high)]."""
    return parse(_bench("plugin_calls", log))


def figures(log):
    """The table, as it is printed."""
    text = _bench("plugin_figures", log)
    return text[text.index("plugins, "):].rstrip()


def _bench(name, log):
    """What the bench prints, from the profile that the measured daemon is built with."""
    command = [*shlex.split(os.environ.get("CARGO", "cargo")),
               "bench", "--locked", "--profile", "dev", "--workspace", "--bench", name]
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
