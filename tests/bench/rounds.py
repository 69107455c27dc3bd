"""The rounds: who creates and deletes when, and what is kept of it."""

import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field

import yaml

import engine
from daemon import CREATE_S, Daemon
from outside import Outside, Watch, read_env
from spans import TARGET, Create, log_lines
from twin import Twin, published

# Away from the daemon's own ranges and from those of the tests.
FIRST_PORT = 23800
POOL = "10.214.0.0/25"
TWIN_SUBNET = "10.214.1.0/27"
# After "healthy" each proof should hold at once; this is where the bench gives up.
CONFIRM_S = 60

OURS = "supamanager"
COMPOSE = "compose up --wait"
EVERY_SECOND = "the same, checks every 1 s"
CONTENDERS = [OURS, COMPOSE, EVERY_SECOND]


@dataclass
class Times:
    """Seconds of one contender, one entry per round."""

    usable: list = field(default_factory=list)
    healthy: list = field(default_factory=list)
    proven: list = field(default_factory=list)
    gone: list = field(default_factory=list)
    # The same with the folder's removal, where that is a step of its own.
    cleared: list = field(default_factory=list)

    def keep(self, begun, usable_at, healthy_at):
        proven_at = time.monotonic()
        # A look takes longer than the last service: then the proof at the end was the first success.
        self.usable.append((usable_at or proven_at) - begun)
        self.healthy.append(healthy_at - begun)
        self.proven.append(proven_at - begun)


class Bench:
    """All rounds on one engine, with one daemon."""

    def __init__(self, folder, program, image_set):
        self.folder, self.program, self.image_set = folder, program, image_set
        self.times = {name: Times() for name in CONTENDERS}
        self.creates = []
        self.twin_refs = []
        # The machine's one-minute load after each turn: what else ran shows here.
        self.loads = []
        self.installation = ""

    def run(self, rounds):
        daemon = Daemon(self.folder, self.image_set, first_port=FIRST_PORT, pool=POOL)
        accepted = []
        with daemon:
            self.installation = (daemon.data / "installation").read_text().strip()
            self.warm_up(daemon)
            for number in range(rounds):
                turn = number % len(CONTENDERS)
                for name in CONTENDERS[turn:] + CONTENDERS[:turn]:
                    if name == OURS:
                        accepted.append(self.ours(daemon))
                    else:
                        self.compose(name)
                    last, load = self.times[name], os.getloadavg()[0]
                    self.loads.append(load)
                    print(f"bench: round {number + 1}, {name}: healthy after {last.healthy[-1]:.1f} s, "
                          f"gone after {last.gone[-1]:.1f} s, load {load:.1f}", flush=True)
        lines = list(log_lines(daemon.log))
        with open(self.folder / "spans.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines if line.get("target") == TARGET)
        self.creates = [Create(posted_ms, operation, lines) for posted_ms, operation in accepted]

    def warm_up(self, daemon):
        """The first create reads every image from disk. Its folder is kept: the files, not the data."""
        project, operation, *_ = daemon.accept()
        daemon.until_ended(operation, CREATE_S)
        target = self.folder / "rendered"
        target.mkdir(mode=0o700)
        for path in daemon.rendered(project).iterdir():
            if path.is_file():
                shutil.copy2(path, target)
        daemon.delete(project)

    def ours(self, daemon):
        times = self.times[OURS]
        project, operation, begun, posted_ms = daemon.accept()
        rendered = daemon.rendered(project)
        with contextlib.ExitStack() as watching:
            outside = until_rendered(daemon, project, rendered)
            watch = watching.enter_context(Watch(outside))
            answer = daemon.until_ended(operation, CREATE_S)
            healthy_at = time.monotonic()
            outside.confirm(CONFIRM_S)
        times.keep(begun, watch.usable_at, healthy_at)
        gone = daemon.delete(project)
        times.gone.append(gone)
        times.cleared.append(gone)
        return posted_ms, answer

    def compose(self, name):
        times = self.times[name]
        twin = Twin(
            self.program, self.folder / "rendered", self.folder / "twin",
            api_port=FIRST_PORT + 21, db_port=FIRST_PORT + 22, subnet=TWIN_SUBNET,
            check_interval=1 if name == EVERY_SECOND else None)
        self.twin_refs.append(twin.ref)
        try:
            outside = Outside(twin.host, twin.api_port, twin.db_port, read_env(twin.folder))
            begun = time.monotonic()
            with Watch(outside) as watch:
                twin.up()
                healthy_at = time.monotonic()
                outside.confirm(CONFIRM_S)
            times.keep(begun, watch.usable_at, healthy_at)
            gone, cleared = twin.down()
            times.gone.append(gone)
            times.cleared.append(cleared)
        finally:
            twin.discard()

    def left(self):
        """What the engine still has of either side."""
        labels = [f"com.docker.compose.project={ref}" for ref in self.twin_refs]
        return engine.labelled(f"io.supamanager.installation={self.installation}", *labels)


def until_rendered(daemon, project, rendered):
    """Our keys and ports are known once the folder is rendered, a fraction of a second after the request."""
    give_up = time.monotonic() + CONFIRM_S
    while not (rendered / ".env").is_file() or not (rendered / "docker-compose.yml").is_file():
        if time.monotonic() > give_up:
            found = daemon.call("GET", f"/platform/projects/{project}")
            raise TimeoutError(f"nothing is rendered in {rendered} after {CONFIRM_S} s; the project is {found['status']}")
        time.sleep(0.02)
    stack = yaml.safe_load((rendered / "docker-compose.yml").read_text())
    return Outside("127.0.0.1", published(stack, 8000), published(stack, 5432), read_env(rendered))
