"""One page of Markdown from everything that was found: for a person who decides whether the pins can be trusted."""


def write(facts, images, suite, measured):
    """`facts` are (name, value) about where this ran. Returns (text, whether all is well)."""
    failures = failed(suite, measured)
    verdict = f"Failed: {len(failures)}." if failures else "Everything passed."
    lines = ["# The stack on its images", "", f"**{verdict}**", ""]
    lines += table(("", ""), facts)
    lines += ["", "## What failed", ""]
    lines += [line for headline, said in failures for line in [f"- {headline}", *quoted(said)]] or ["Nothing."]
    lines += ["", "## Images", ""]
    lines += table(("service", "reference", "digest", "size", "pulled in"), [
        (image.service, image.reference, f"`{image.digest}`", f"{image.size / 1e6:.0f} MB",
         "built here" if image.pulled_s is None else f"{image.pulled_s:.0f} s")
        for image in images
    ])
    lines += ["", f"All together {sum(image.size for image in images) / 1e6:.0f} MB, layers that images share counted each time."]
    lines += ["", "## One create, step by step", ""]
    lines += table(("step", "state", "time"), [(name, state, f"{took:.2f} s") for name, state, took in measured.steps])
    if measured.create_s:
        lines += ["", f"From the POST to ACTIVE_HEALTHY {measured.create_s:.1f} s; from the DELETE to DELETED {measured.delete_s:.1f} s."]
    lines += ["", "## Services once healthy", ""]
    lines += table(("service", "state", "memory", "last look"), [
        (service, state, "-" if used is None else f"{used:.0f} MB", "-" if latency is None else f"{latency} ms")
        for service, (state, used, latency) in measured.services.items()
    ])
    total = sum(used for _, used, _ in measured.services.values() if used)
    lines += ["", f"All together {total:.0f} MB, half a minute after the last one was healthy."]
    lines += ["", "## The engine suite", "", f"`{suite.command}`, {suite.seconds:.0f} s", ""]
    lines += table(("test", "outcome"), suite.tests)
    return "\n".join(lines) + "\n", not failures


def failed(suite, measured):
    """(headline, the last lines behind it) of everything that went wrong."""
    found = []
    if measured.failure:
        found.append((f"**create or delete**: {measured.failure}", measured.log_tail))
    if suite.broken:
        found.append((f"**engine suite**: {suite.broken}", []))
    found += [(f"**{name}**", assertion(suite.reasons.get(name, []))) for name in suite.failed()]
    return found


def assertion(lines):
    """From the panic on; what a daemon said before it, and how long it goes on, is in the suite's log."""
    start = next((number for number, line in enumerate(lines) if " panicked at " in line), 0)
    return lines[start : start + 12]


def quoted(lines):
    return ["", *(f"      {line}" for line in lines), ""] if lines else []


def table(head, rows):
    """An empty table would read like one whose rows were lost."""
    if not rows:
        return ["Not reached."]
    line = lambda cells: "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
    return [line(head), "|" + "---|" * len(head), *map(line, rows)]
