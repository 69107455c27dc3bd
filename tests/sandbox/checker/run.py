"""All checks in one call: what check.py prints and mutate.py counts."""

import functools

from contractlib import load

from . import database, gateway, pipeline, project, services


@functools.lru_cache(maxsize=1)
def contracts():
    """Every contract file, read once."""
    return {
        "services": load.services(),
        **{name: load.read(name) for name in ("common", "secrets", "gateway", "vector-pipeline", "database")},
    }


@functools.lru_cache(maxsize=4)
def _database(text):
    """By text: mutate.py asks for the same init.sql once per mutant of the other files."""
    return tuple(database.check(text, contracts()["database"]))


def violations(stack, images=None):
    """Everything wrong with a stack, sorted. A file that could not be parsed is reported and its checks skipped."""
    data = contracts()
    rows = list(stack.broken) + project.check_modes(stack, data["common"])
    if stack.compose is not None:
        rows += project.check(stack, data["common"], data["secrets"])
        rows += services.check(stack, data["common"], data["services"], images)
        if stack.env is not None:
            rows += project.check_secrets(stack, data["secrets"])
    if stack.kong is not None:
        rows += gateway.check(stack, data["gateway"])
    if stack.vector is not None:
        rows += pipeline.check(stack, data["vector-pipeline"])
    if stack.init_sql is not None:
        rows += _database(stack.init_sql)
    if stack.root_key is not None:
        rows += project.check_root_key(stack, data["secrets"])
    return sorted(set(rows))
