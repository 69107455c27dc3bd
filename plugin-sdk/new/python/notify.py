"""Counts the messages of each project and says so in the operator's log."""

import wit_world
from componentize_py_types import Err
from wit_world.imports import log, memory, types

HEARD = "heard"


class WitWorld(wit_world.WitWorld):
    def describe(self):
        # Name and version as in plugin.toml.
        return types.Description("__NAME__", "0.1.0", "Counts the messages of each project")

    def notify(self, message):
        try:
            count = count_with(memory.get(HEARD))
            memory.set(HEARD, str(count).encode())
        except Err as error:
            # What is remembered is a project's, and some messages are about none.
            if isinstance(error.value, types.AccessError_Denied):
                return
            raise Err(types.Error_Failed(error.value.value))
        log.write(log.Level.INFO, f"message {count} of this project")


def count_with(before):
    """With this message; nothing is remembered before the first one."""
    text = "0" if before is None else before.decode(errors="replace")
    if not text.isdecimal():
        raise Err(types.Error_Failed(f"`{HEARD}` is no number: {text}"))
    return int(text) + 1
