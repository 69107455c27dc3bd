"""Healthy is a service that listens on port 80, if its probe is a motto."""

import wit_world
from componentize_py_types import Err
from wit_world import Report, State
from wit_world.imports import service_tcp
from wit_world.imports.types import Description

PORT = 80

# Below the five seconds of the whole call, so that a service that does not answer is reported by name.
DEADLINE_MS = 1_000


class WitWorld(wit_world.WitWorld):
    def describe(self):
        # Name and version as in plugin.toml.
        return Description("__NAME__", "0.1.0", "Healthy is what listens on port 80")

    def check(self, project, service, spec):
        if "motto" not in spec:
            return None  # not a probe of ours: the next plugin is asked
        endpoint = f"tcp://{service}:{PORT}"
        try:
            service_tcp.connect(service, PORT, DEADLINE_MS)
        except Err as error:
            return Report(State.STARTING, error.value.value, endpoint)
        return Report(State.HEALTHY, "", endpoint)
