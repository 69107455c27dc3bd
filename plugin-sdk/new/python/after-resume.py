"""Has the API of a resumed project read the schema anew."""

import wit_world
from componentize_py_types import Err
from wit_world.imports import sql, types

DEADLINE_MS = 10_000

# When to try again after a database that is away or busy.
RETRY_MS = 2_000


class WitWorld(wit_world.WitWorld):
    def describe(self):
        # Name and version as in plugin.toml.
        return types.Description("__NAME__", "0.1.0", "Has the API read the schema anew")

    def after_resume(self, context):
        """After a crash it is called once more: a second notification does no harm."""
        try:
            sql.execute("db", "postgres", "notify pgrst, 'reload schema'", DEADLINE_MS)
        except Err as error:
            raise again_if_away(error.value)
        return "the API reads the schema anew"


def again_if_away(error):
    match error:
        case types.AccessError_Refused() | types.AccessError_TimedOut():
            return Err(types.Error_RetryAfter(RETRY_MS))
        case types.AccessError_Denied(text):
            return Err(types.Error_Denied(text))
        case types.AccessError_Failed(text):
            return Err(types.Error_Failed(text))
