"""Tells whoever listens in the project's database that the project goes away."""

import wit_world
from componentize_py_types import Err
from wit_world.imports import progress, sql, types

DEADLINE_MS = 10_000


class WitWorld(wit_world.WitWorld):
    def describe(self):
        # Name and version as in plugin.toml.
        return types.Description("__NAME__", "0.1.0", "Tells whoever listens that the project goes away")

    def before_delete(self, context):
        progress.report("saying goodbye")
        try:
            sql.execute("db", "postgres", "notify project, 'deleted'", DEADLINE_MS)
        except Err as error:
            # A paused project is deleted too, and an error would hold that up.
            if isinstance(error.value, types.AccessError_Refused):
                return "the database does not run: nobody to tell"
            raise Err(types.Error_Failed(error.value.value))
        return "whoever listens on the channel `project` was told"
