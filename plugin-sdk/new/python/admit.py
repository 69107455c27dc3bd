"""Refuses projects whose name begins with `tmp-`."""

import json

import wit_world
from wit_world import Decision_Admit, Decision_Refuse
from wit_world.imports.types import Description


class WitWorld(wit_world.WitWorld):
    def describe(self):
        # Name and version as in plugin.toml.
        return Description("__NAME__", "0.1.0", "Refuses projects whose name begins with tmp-")

    def admit(self, request):
        # An update that leaves the name alone has none.
        name = json.loads(request)["wanted"].get("name") or ""
        if name.startswith("tmp-"):
            return Decision_Refuse("a name that begins with `tmp-` is for nothing that stays")
        return Decision_Admit()
