"""The engine suite on an image set: the same tests that `make test` runs on the sandbox images."""

import os
import re
import shlex
import subprocess
import time
from dataclasses import dataclass, field

from daemon import ROOT

# 12 minutes are its budget on the sandbox (decision 39); real images start slower, and a first build comes on top.
LIMIT_S = 5400
LINE = re.compile(r"^test (?P<name>\S+) \.\.\. (?:.*\s)?(?P<outcome>ok|FAILED|ignored)\b.*$")


@dataclass
class Suite:
    command: str
    seconds: float = 0.0
    # (name, ok | FAILED | ignored)
    tests: list = field(default_factory=list)
    # name -> its last lines
    reasons: dict = field(default_factory=dict)
    # Why it did not run to its end, if so.
    broken: str = ""

    def failed(self):
        return [name for name, outcome in self.tests if outcome == "FAILED"]


def run(image_set, log, area):
    command = [*shlex.split(os.environ.get("CARGO", "cargo")), "test", "--locked", "-p", "supamanager-tests", "--test", "it", "--", area]
    suite = Suite(f"SUPAMANAGER_TEST_IMAGE_SET={image_set} {' '.join(command)}")
    # A backtrace of a test's own frames says nothing about an image.
    environment = {**os.environ, "SUPAMANAGER_TEST_IMAGE_SET": image_set, "RUST_BACKTRACE": "0"}
    begun = time.monotonic()
    with open(log, "w", encoding="utf-8") as output:
        try:
            code = subprocess.run(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT_S).returncode
        except subprocess.TimeoutExpired:
            suite.broken, code = f"it did not end within {LIMIT_S} s", None
    suite.seconds = time.monotonic() - begun
    read(suite, log.read_text(errors="replace"))
    if not suite.broken and not suite.tests:
        suite.broken = f"it ran no test (cargo ended with {code}); see {log.relative_to(ROOT)}"
    elif not suite.broken and code and not suite.failed():
        suite.broken = f"cargo ended with {code} although no test says FAILED; see {log.relative_to(ROOT)}"
    return suite


def read(suite, text):
    """libtest's lines: outcomes, and below them `---- NAME stdout ----` with what a failed test said."""
    current = None
    for line in text.splitlines():
        if match := LINE.match(line):
            suite.tests.append((match["name"], match["outcome"]))
        elif match := re.match(r"^---- (\S+) stdout ----$", line):
            current = suite.reasons.setdefault(match[1], [])
        elif line == "failures:":
            current = None
        elif current is not None and line.strip() and not line.startswith("note: run with"):
            current.append(line)
