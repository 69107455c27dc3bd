"""One create and one delete on the image set: times per step, and what each service uses once it is healthy."""

import json
import time
from dataclasses import dataclass, field

import engine
from daemon import CREATE_S, Daemon, DaemonError
from spans import unix_ms

# Away from the daemon's own ranges, from those of the tests and from the bench's.
FIRST_PORT = 23900
POOL = "10.214.2.0/25"
# Right after a start caches and pools still fill; the number of interest is the one that stays.
SETTLE_S = 30


@dataclass
class Measured:
    create_s: float = 0.0
    delete_s: float = 0.0
    # (name, state, seconds)
    steps: list = field(default_factory=list)
    # service -> (state, megabytes, milliseconds of the last look)
    services: dict = field(default_factory=dict)
    # What went wrong, with the last lines of the service behind it.
    failure: str = ""
    log_tail: list = field(default_factory=list)


def measure(folder, image_set, settle_s=SETTLE_S):
    measured = Measured()
    try:
        with Daemon(folder, image_set, first_port=FIRST_PORT, pool=POOL) as daemon:
            project, operation, begun, _ = daemon.accept()
            try:
                daemon.until_ended(operation, CREATE_S)
                measured.create_s = time.monotonic() - begun
                time.sleep(settle_s)
            except DaemonError as error:
                measured.failure = str(error).splitlines()[0]
            look(daemon, project, operation, measured)
            measured.delete_s = daemon.delete(project)
    except (DaemonError, engine.EngineError, OSError) as error:
        measured.failure = measured.failure or str(error)
    return measured


def look(daemon, project, operation, measured):
    found = daemon.call("GET", f"/platform/projects/{project}")
    if error := found.get("error"):
        measured.failure = f"{error['step']}: {error['code']}: {error['message']}"
        measured.log_tail = error.get("log_tail") or []
    for step in daemon.call("GET", f"/platform/operations/{operation}")["steps"]:
        ended = unix_ms(step["ended_at"]) - unix_ms(step["started_at"]) if step["ended_at"] else 0
        measured.steps.append((step["name"], step["state"], ended / 1000))
    used = memory(found.get("containers") or {})
    checks = found.get("health_checks") or {}
    for service, state in sorted((found.get("services") or {}).items()):
        measured.services[service] = (state, used.get(service), checks.get(service, {}).get("latency_ms"))


def memory(containers):
    """Service -> megabytes, as the engine counts them: with the page cache that it does not take away."""
    if not containers:
        return {}
    lines = engine.docker("stats", "--no-stream", "--no-trunc", "--format", "{{json .}}", *containers.values()).splitlines()
    by_id = {stats["ID"]: megabytes(stats["MemUsage"].split("/")[0]) for stats in map(json.loads, lines)}
    return {service: by_id.get(container) for service, container in containers.items()}


def megabytes(text):
    """`12.5MiB` and the like, in megabytes of 1024 * 1024 bytes."""
    units = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024, "B": 1 / 1024 / 1024}
    text = text.strip()
    for unit, factor in units.items():
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    raise ValueError(f"the engine reports memory as `{text}`: expected a number with one of {', '.join(units)}")
