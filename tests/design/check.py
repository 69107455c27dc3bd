#!/usr/bin/env python3
"""Holds `tests/design-coverage.toml` against the design document and against the tests that exist.

Why: a requirement is lost quietly, by a test that was renamed or a line that nobody answered. This fails on a line
without exactly one answer, on an id or a sentence that the document does not have, on a test that exists nowhere, on
an issue's title that is not known here, on a copy of the design that has drifted from its source, and on a number of the
design or a promise of README.md and ARCHITECTURE.md that the code does not keep.

usage: check.py        exit 0 and one line of counts, or every fault with its place
"""

import re
import sys
import tomllib
from pathlib import Path

# No byte code beside the sources: the tree of a clone stays as it is.
sys.dont_write_bytecode = True

import documents  # noqa: E402
import extract  # noqa: E402
import numbers_of_the_design as numbers  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COVERAGE = ROOT / "tests/design-coverage.toml"
# The source of the copies, where a machine has it beside the repository.
SHARED = ROOT.parent / "shared/design"
ANSWERS = ["test", "later", "changed"]
ISSUES = {
    # Wanted by the design, and part of no issue so far.
    "in no issue yet",
    "The plugin platform: safe by default, swapped while running, pleasant to write for",
    "The tools people already have: Studio, the official CLI, and every Supabase client, against our daemon",
    "The front door: a console in the browser, and endpoints that the world can reach",
}


def tests_that_exist():
    """Names of tests, and of the checks that a test of the integration suite is made of."""
    names = set()
    for path in [*(ROOT / "tests").rglob("*.rs"), *(ROOT / "daemon/tests").rglob("*.rs")]:
        names.update(re.findall(r"\bfn (\w+)\s*[(<]", path.read_text(encoding="utf-8")))
    marked = re.compile(r"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn (\w+)")
    for folder in ["daemon/src", "plugins", "plugin-sdk"]:
        for path in (ROOT / folder).rglob("*.rs"):
            names.update(marked.findall(path.read_text(encoding="utf-8")))
    for folder in ["tests/sandbox", "tests/design"]:
        for path in (ROOT / folder).rglob("*.py"):
            names.update(re.findall(r"^def (\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE))
    return names


def faults_of_the_coverage(lines, coverage, existing):
    found = []
    for name, words in lines:
        row = coverage.get(name)
        if row is None:
            found.append(f"{name}: no answer for `{words}`")
            continue
        if row.get("says") != words:
            found.append(f"{name}: the document says `{words}`, the answer is for `{row.get('says')}`")
        answers = [key for key in ANSWERS if row.get(key)]
        if len(answers) != 1 or set(row) - {"says", *answers}:
            found.append(f"{name}: needs exactly one of {', '.join(ANSWERS)}, has {sorted(set(row) - {'says'})}")
        for test in _tests(row):
            if test not in existing:
                found.append(f"{name}: there is no test `{test}`")
        if "later" in row and row["later"] not in ISSUES:
            found.append(f"{name}: no issue is called `{row['later']}`")
    known = {name for name, _ in lines}
    found.extend(f"{name}: the document has no such line" for name in coverage if name not in known)
    return found


def _tests(row):
    tests = row.get("test", [])
    return [tests] if isinstance(tests, str) else tests


def faults_of_the_copies():
    if not SHARED.is_dir():
        return []
    pairs = [(path, SHARED / path.name) for path in sorted(HERE.glob("*.md"))]
    contract = ROOT / "tests/contract"
    pairs += [(path, SHARED.parent / "contract" / path.relative_to(contract)) for path in sorted(contract.rglob("*.*"))]
    drifted = [(copy, source) for copy, source in pairs if source.is_file() and copy.read_bytes() != source.read_bytes()]
    return [f"{copy.relative_to(ROOT)} is not its source any more: copy {source} again" for copy, source in drifted]


def faults_of_the_tests(tests):
    found = []
    for test in tests:
        try:
            test()
        except AssertionError as error:
            found.append(f"{test.__name__}: {error}")
    return found


def main():
    lines = extract.lines(extract.document())
    coverage = tomllib.loads(COVERAGE.read_text(encoding="utf-8"))
    tests = numbers.TESTS + documents.TESTS
    faults = faults_of_the_coverage(lines, coverage, tests_that_exist())
    faults += faults_of_the_copies() + faults_of_the_tests(tests)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        print(f"{len(faults)} faults in tests/design-coverage.toml, the documents, or what they name", file=sys.stderr)
        return 1
    counts = [sum(1 for row in coverage.values() if answer in row) for answer in ANSWERS]
    print("design lines {}: tests {}, changed {}, later {}".format(len(lines), counts[0], counts[2], counts[1]))
    for title in sorted({row["later"] for row in coverage.values() if "later" in row}):
        print(f"  later, {sum(1 for row in coverage.values() if row.get('later') == title)}: {title}")
    print(f"checks: {len(lines) + len(tests)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
