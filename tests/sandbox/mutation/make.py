"""The mutants: every key dropped, every value changed, in all files of a rendered stack.

A mutant has a stable id (`file:path:change`), so that a reason or a test can name it, and can be applied to the stack
of any other project.
"""

import copy
import re
from dataclasses import dataclass

from checker.database import statements

# Another role's password in place of the right one: shape and length fit, only the login tells.
_SWAP = {
    "SUPABASE_ADMIN_PASSWORD": "AUTHENTICATOR_PASSWORD",
    "JWT_SECRET": "SECRET_KEY_BASE",
    "ANON_KEY": "SERVICE_ROLE_KEY",
}
_OTHER = "SUPABASE_ADMIN_PASSWORD"


@dataclass(frozen=True)
class Mutant:
    file: str
    path: tuple
    change: str

    @property
    def id(self):
        return f"{self.file}:{'.'.join(str(part) for part in self.path)}:{self.change}"


_ATTRIBUTE = {
    "docker-compose.yml": "compose",
    "kong.yml": "kong",
    "vector.yml": "vector",
    "init.sql": "init_sql",
    "pgsodium_root.key": "root_key",
    ".env": "env",
}


def mutants(stack):
    """All mutants of a stack, in file order."""
    found = []
    for file in ("docker-compose.yml", "kong.yml", "vector.yml"):
        _tree(file, getattr(stack, _ATTRIBUTE[file]), (), found)
    _sql(stack.init_sql, found)
    for name in stack.env:
        found += [Mutant(".env", (name,), "drop"), Mutant(".env", (name,), "short")]
    found += [Mutant("pgsodium_root.key", ("content",), "short")]
    found += [
        Mutant(name, ("mode",), "unreadable" if mode & 0o004 else "open") for name, mode in sorted(stack.modes.items())
    ]
    return found


def _tree(file, node, path, found):
    """Depth first: a map's keys and a list's items are dropped, plain values changed, names misspelt."""
    if isinstance(node, dict):
        for key, value in node.items():
            found.append(Mutant(file, (*path, key), "drop"))
            if path and path[-1] in ("environment", "labels", "aliases", "options"):
                found.append(Mutant(file, (*path, key), "rename"))
            _tree(file, value, (*path, key), found)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            found.append(Mutant(file, (*path, index), "drop"))
            _tree(file, value, (*path, index), found)
    else:
        found.append(Mutant(file, path, "change"))
        if isinstance(node, str) and "${" in node:
            found.append(Mutant(file, path, "other-secret"))


def _sql(text, found):
    for index, statement in enumerate(statements(text)):
        found.append(Mutant("init.sql", (index, _short(statement)), "drop"))
        if _changed_statement(statement) is not None:
            found.append(Mutant("init.sql", (index, _short(statement)), "change"))


def _short(statement):
    return re.sub(r"[^a-z0-9_ ]", "", statement.lower())[:48].strip().replace(" ", "-")


def _changed_statement(statement):
    """A wrong variable, or the last plain name of a statement misspelt; None where there is nothing to misspell."""
    if "printenv" in statement:
        return statement.replace("printenv ", "printenv WRONG_")
    if statement.startswith("\\") or "$" in statement or statement in ("begin", "commit"):
        return None
    match = re.search(r"(.*\b)([a-z_]{4,})(\W*)$", statement)
    return f"{match[1]}{match[2]}x{match[3]}" if match else None


def apply(stack, mutant):
    """A copy of the stack with the mutant's fault; the original stays as it is."""
    changed = copy.copy(stack)
    changed.modes = dict(stack.modes)
    attribute = _ATTRIBUTE[mutant.file]
    if mutant.change in ("unreadable", "open"):
        changed.modes[mutant.file] = 0o600 if mutant.change == "unreadable" else 0o644
    elif mutant.file == "init.sql":
        changed.init_sql = _apply_sql(stack.init_sql, mutant)
    elif mutant.file == "pgsodium_root.key":
        changed.root_key = stack.root_key.strip()[:-1]
    else:
        setattr(changed, attribute, _apply_tree(getattr(stack, attribute), mutant))
    return changed


def _apply_sql(text, mutant):
    parts = statements(text)
    index = mutant.path[0]
    replacement = [] if mutant.change == "drop" else [_changed_statement(parts[index])]
    parts = parts[:index] + replacement + parts[index + 1 :]
    return "".join(part + ("\n" if part.startswith("\\") else ";\n") for part in parts)


def _apply_tree(document, mutant):
    """Copies only the nodes on the way to the fault: a whole copy per mutant was a third of the running time."""
    *parents, last = mutant.path
    document = node = copy.copy(document)
    for part in parents:
        node[part] = copy.copy(node[part])
        node = node[part]
    if mutant.change == "drop":
        del node[last]
    elif mutant.change == "rename":
        items = [(f"{key}_X" if key == last else key, value) for key, value in node.items()]
        node.clear()
        node.update(items)
    elif mutant.change == "short":
        node[last] = node[last][:-1][:8]
    elif mutant.change == "other-secret":
        node[last] = re.sub(r"\$\{([A-Z_]+)\}", lambda match: "${" + _SWAP.get(match[1], _OTHER) + "}", node[last])
    else:
        node[last] = changed(node[last])
    return document


def changed(value):
    """A value of the same type that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 100000
    if value is None:
        return "x"
    text = str(value)
    if text in ("true", "false"):
        return "false" if text == "true" else "true"
    # A port or number inside a text moves; so does a duration. An address gets another host.
    if match := re.search(r"(\d+)(?!.*\d)", text):
        if re.fullmatch(r"[a-z]*\d+[a-z]*|.*:\d+(:ro)?|\d+\.\d+\.\d+\.\d+.*", text):
            return text[: match.start()] + str(int(match[1]) + 7777) + text[match.end() :]
    if text.endswith(":ro"):
        return text[:-3]
    return text + "x"
