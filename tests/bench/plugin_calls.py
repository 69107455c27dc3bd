"""The cost of one render and of one probe call: criterion's lines, from daemon/benches/plugin_calls.rs."""

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
    """[(call, low, typical, high)], from the profile that the measured daemon is built with."""
    command = [*shlex.split(os.environ.get("CARGO", "cargo")),
               "bench", "--locked", "--profile", "dev", "-p", "supamanager", "--bench", "plugin_calls"]
    with open(log, "w", encoding="utf-8") as output:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "SUPAMANAGER_PLUGINS_DIR": str(ROOT / "target/plugins")},
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT_S)
    text = log.read_text(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}; {log} ends with:\n" + "\n".join(text.splitlines()[-8:]))
    return parse(text)


def parse(text):
    found, before = [], ""
    for line in text.splitlines():
        if match := TIMES.match(line):
            found.append(((match["name"] or before).strip(), match["low"], match["typical"], match["high"]))
        elif line.strip():
            before = line
    return found
