"""Which mutants a running stack must notice: the pool for the engine test.

Judged by the same rules that the stand-ins apply to their own environment, plus what a start cannot survive (a
missing mount, the tenant's name, a wrong login, a gateway file that does not load).
"""

import re

from checker.folder import resolved
from contractlib import load, rules

_INIT = re.compile(
    r"set-pw-|alter-role-.*password|create-schema-if-not-exists-_(realtime|analytics)|create-role-supamanager_meta"
)
_LOGIN = {
    ("auth", "GOTRUE_DB_DATABASE_URL"),
    ("storage", "DATABASE_URL"),
    ("realtime", "DB_PASSWORD"),
    ("rest", "PGRST_DB_URI"),
    ("analytics", "DB_PASSWORD"),
    ("analytics", "POSTGRES_BACKEND_URL"),
}


def is_noticeable(stack, mutant, applied):
    """True when a create with this fault cannot end healthy on the sandbox images."""
    path = mutant.path
    if mutant.change == "unreadable":
        return mutant.file in ("kong.yml", "init.sql", "pgsodium_root.key")
    if mutant.file == "pgsodium_root.key":
        return mutant.change == "short"
    if (
        mutant.file == "docker-compose.yml"
        and len(path) >= 4
        and path[:1] == ("services",)
        and path[2] == "environment"
    ):
        return _environment(stack, applied, path[1], path[3], mutant.change)
    if mutant.file == "docker-compose.yml" and len(path) == 4 and path[2] == "volumes":
        return mutant.change == "drop" and "pgsodium" not in str(stack.compose["services"][path[1]]["volumes"][path[3]])
    if mutant.file == "docker-compose.yml" and len(path) == 6 and path[-2] == "aliases":
        value = stack.compose["services"][path[1]]["networks"]["default"]["aliases"][path[-1]]
        return value == "realtime-dev.supabase-realtime"
    if mutant.file == "init.sql":
        return _INIT.match(str(path[1])) is not None and not str(path[1]).startswith("alter-role-postgres")
    if mutant.file == "kong.yml":
        return mutant.change == "change" and (
            path == ("_format_version",) or (len(path) == 5 and path[2] == "plugins" and path[4] == "name")
        )
    return False


def _environment(stack, applied, service, name, change):
    if change == "other-secret":
        return (service, name) in _LOGIN
    found = {
        key: resolved(str(value), stack.env)
        for key, value in (applied.compose["services"][service]["environment"] or {}).items()
    }
    contract = load.read(service)
    rule = contract["env"].get(name)
    if rule is None or rule.get("optional"):
        return False
    # What the image sets by itself hides a dropped variable from the process.
    if change in ("drop", "rename") and (service, name) in (
        ("db", "POSTGRES_HOST"),
        ("db", "POSTGRES_DB"),
        ("meta", "PG_META_PORT"),
    ):
        return False
    return bool(rules.environment(contract, found, rules.Running(load.read("secrets")), strict_names=False))
