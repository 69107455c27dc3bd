"""Copies the text of every wanted template to its path."""

import wit_world
from wit_world import File
from wit_world.imports import templates
from wit_world.imports.types import Description


class WitWorld(wit_world.WitWorld):
    def describe(self):
        # Name and version as in plugin.toml.
        return Description("__NAME__", "0.1.0", "Copies the text of every wanted template to its path")

    def render(self, context, wanted, so_far):
        # A template that is not there is raised by `read`, and so answered to the host.
        return [File(one.path, one.mode, templates.read(one.template)) for one in wanted]
