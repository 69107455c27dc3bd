#!/usr/bin/env python3
"""Takes the design document apart into the lines that ask for something, each with a stable id.

Why: `tests/design-coverage.toml` says of every such line which test shows it, and `check.py` fails when one has no
answer. "Every line" is the rule here and the exceptions are listed, so that no requirement is left out by taste.

An id is the slug of the heading above and a running number below it: `port-ranges.02`.

usage: extract.py [FILE]        prints `id <tab> text`
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE / "provisioning-design.md"

# Sections that ask for nothing: work that was done before this repository began, and links.
SILENT = {"phase-1-analysis-complete", "phase-2-design-complete", "resources"}

# Lines that carry no content of their own, by kind. Openings of structures are here because their fields and members
# are lines themselves; bodies of the example functions, because what they compute is said beside them.
EMPTY = re.compile(
    "|".join(
        [
            r"[-{}()\[\],\s↓│]*",
            r"```.*",
            r"\|[-\s|:]+\|",
            r"graph TD",
            r"(type|func) .*\{",
            r'"?[\w ]+"?: [{\[]',
            r"// (Ports|Security|Resources) \(.*\)",
            r"Content-Type: .*",
            r"\*\*(Steps|Response|Status|Next)\*\*:.*|\*\*(Steps|Response):\*\*",
            r"(usedPorts|basePort|bytes|_, err) :?= .*|if err != nil \{|if !usedPorts.*|return (port|\"\", err)",
            r"Each (project provisions these containers|service has a health check endpoint):",
            r"[├└]── (def456|ghi789)/|│?\s*└── \.\.\.",
        ]
    )
)


def slug(heading):
    """`### 1. Creation Flow` -> `1-creation-flow`."""
    words = re.findall(r"[a-z0-9]+", heading.lower())
    return "-".join(words)


def lines(text):
    """(id, text) of every line that asks for something, in order."""
    found, numbers = [], {}
    section = ""
    rows = text.splitlines()
    for at, row in enumerate(rows):
        heading = re.match(r"#{1,6} (.*)", row)
        if heading:
            section = slug(heading.group(1))
            continue
        stripped = row.strip()
        header_of_table = at + 1 < len(rows) and re.match(r"^\|[-\s|:]+\|$", rows[at + 1].strip())
        if section in SILENT or header_of_table or EMPTY.fullmatch(stripped):
            continue
        numbers[section] = numbers.get(section, 0) + 1
        found.append((f"{section}.{numbers[section]:02}", re.sub(r"\s+", " ", stripped)))
    return found


def document():
    return DOCUMENT.read_text(encoding="utf-8")


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENT
    for name, words in lines(path.read_text(encoding="utf-8")):
        print(f"{name}\t{words}")
