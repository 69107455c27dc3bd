"""Makes a schema of its own in the project's database, and takes it back."""

import wit_world
from componentize_py_types import Err
from wit_world import Outcome
from wit_world.imports import progress, sql, types

DEADLINE_MS = 10_000

# When to try again after a database that is away or busy.
RETRY_MS = 2_000


class WitWorld(wit_world.WitWorld):
    def describe(self):
        # Name and version as in plugin.toml.
        return types.Description("__NAME__", "0.1.0", "Makes a schema of its own in the project's database")

    def run(self, context):
        """`if not exists`: after a crash it is called once more."""
        progress.report("making the schema plugin___NAME_SNAKE__")
        try:
            execute("create schema if not exists plugin___NAME_SNAKE__")
        except Err as error:
            raise again_if_away(error.value)
        return Outcome(True, "the schema plugin___NAME_SNAKE__ is there")

    def undo(self, context, outcome):
        try:
            execute("drop schema if exists plugin___NAME_SNAKE__ cascade")
        except Err as error:
            # The schema goes with a database that is already away.
            if not isinstance(error.value, types.AccessError_Refused):
                raise again_if_away(error.value)


def execute(statement):
    sql.execute("db", "postgres", statement, DEADLINE_MS)


def again_if_away(error):
    match error:
        case types.AccessError_Refused() | types.AccessError_TimedOut():
            return Err(types.Error_RetryAfter(RETRY_MS))
        case types.AccessError_Denied(text):
            return Err(types.Error_Denied(text))
        case types.AccessError_Failed(text):
            return Err(types.Error_Failed(text))
