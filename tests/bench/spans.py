"""The daemon's own time: a create minus everything during which an engine call or a readiness wait was open.

The daemon logs, with the filter `supamanager::spans=debug`, one line per engine call and per wait, with Unix
milliseconds (daemon/src/backend/traced.rs). Lines without an operation (listings of the health monitor and of the
reaper) are of nobody's create and are left out.
"""

import json
from datetime import datetime

TARGET = "supamanager::spans"


def log_lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("{"):
                yield json.loads(line)


def unix_ms(rfc3339):
    return datetime.fromisoformat(rfc3339.replace("Z", "+00:00")).timestamp() * 1000


def operation_of(line):
    return next((span["op.id"] for span in line.get("spans", []) if "op.id" in span), None)


def merge(intervals):
    """The union, as disjoint intervals in order."""
    merged = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        elif end > begin:
            merged.append([begin, end])
    return merged


def covered(intervals, begin, end):
    """How much of [begin, end] the union of the intervals covers."""
    return sum(max(0, min(stop, end) - max(start, begin)) for start, stop in merge(intervals))


class Create:
    """One create, in milliseconds: whose time it was."""

    def __init__(self, posted_ms, operation, lines):
        """`operation` is the daemon's answer about it, `lines` its log."""
        mine = [line for line in lines if line.get("target") == TARGET and operation_of(line) == operation["id"]]
        ends = [line for line in lines if line.get("op.id") == operation["id"] and line.get("message") == "operation ended"]
        self.begin, self.end = posted_ms, unix_ms(ends[-1]["timestamp"] if ends else operation["ended_at"])
        self.calls = [(line["begin_ms"], line["end_ms"]) for line in mine if line["kind"] == "engine"]
        waits = [line for line in mine if line["kind"] == "wait"]
        self.waits = [(line["begin_ms"], line["end_ms"]) for line in waits]
        # A wait ends when the daemon notices. Up to the last look that found something missing it is the services'
        # time; what follows is a pause and a look of ours.
        self.needed = [(line["begin_ms"], line.get("not_yet_ms", line["begin_ms"])) for line in waits]
        self.steps = [
            (step["name"], unix_ms(step["started_at"]), unix_ms(step["ended_at"]))
            for step in operation["steps"] if step["ended_at"]
        ]

    def measured(self):
        return bool(self.calls and self.waits)

    def shares(self, begin=None, end=None):
        """Whose time it was between two moments, by default of the whole create."""
        begin, end = begin or self.begin, end or self.end
        engine = covered(self.calls, begin, end)
        either = covered(self.calls + self.waits, begin, end)
        strict = covered(self.calls + self.needed, begin, end)
        total = end - begin
        return {"total": total, "engine": engine, "wait": either - engine, "own": total - either, "strict": total - strict}

    def by_step(self):
        """The same per step, then what lies before, between and after them."""
        table = {name: self.shares(begin, end) for name, begin, end in self.steps}
        whole = self.shares()
        table["around the steps"] = {key: whole[key] - sum(row[key] for row in table.values()) for key in whole}
        return table
