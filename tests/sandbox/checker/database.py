"""init.sql against database.toml (stack-facts 4.3)."""

import re

from .folder import Violation

FILE = "init.sql"


def statements(text):
    """psql's view of a file: meta-commands (`\\set ...`) and statements, comments dropped, in order.

    Quotes and dollar quotes are honoured, so a semicolon inside a function body does not end a statement.
    """
    found, current, position = [], "", 0
    while position < len(text):
        rest = text[position:]
        if rest.startswith("--"):
            position += (rest.find("\n") + 1) or len(rest)
            current += " "
        elif rest.startswith("\\") and current.strip() == "":
            end = rest.find("\n") if "\n" in rest else len(rest)
            found.append(rest[:end].strip())
            position, current = position + end, ""
        elif rest[0] == "'":
            match = re.match(r"'(?:[^']|'')*'", rest)
            current += match[0] if match else rest
            position += len(match[0]) if match else len(rest)
        elif match := re.match(r"(\$[a-z_]*\$)(.*?)\1", rest, re.DOTALL):
            current += match[1] + re.sub("--[^\n]*", " ", match[2]) + match[1]
            position += len(match[0])
        elif rest[0] == ";":
            found.append(current)
            position, current = position + 1, ""
        else:
            current += rest[0]
            position += 1
    if current.strip():
        found.append(current)
    return [item for item in (_folded(item) for item in found) if item]


def _folded(text):
    """White space as one blank, letters small except inside quotes of any kind."""
    parts = re.split(r"('(?:[^']|'')*'|`[^`]*`|:'[^']*')", text)
    return " ".join("".join(part if index % 2 else part.lower() for index, part in enumerate(parts)).split())


def check(text, contract):
    rows = []
    found = statements(text)

    def bad(key, expected, value="nothing"):
        rows.append(Violation(FILE, "", key, expected, value))

    if not any(re.fullmatch(contract["error_stop"], item) for item in found):
        bad("ON_ERROR_STOP", "\\set ON_ERROR_STOP on")
    if found.count("begin") != found.count("commit"):
        bad("transaction", "as many COMMIT as BEGIN", f"{found.count('begin')} and {found.count('commit')}")
    for pattern, why in contract["forbidden"].items():
        if any(re.search(pattern, item) for item in found):
            bad("statement", f"not {pattern}: {why}", "one")
    for rule in contract["statement"]:
        count = sum(1 for item in found if re.fullmatch(rule["matches"], item))
        if count == 0:
            bad(rule["name"], f"a statement matching {rule['matches']}")
    _passwords(found, contract["passwords"], bad)
    return rows


def _passwords(found, wanted, bad):
    """Follows `\\set NAME `printenv VARIABLE`` line by line: the last setting is the one an ALTER uses."""
    variables, given = {}, {}
    for item in found:
        if match := re.fullmatch(r"\\set (\S+) `(?:printenv |echo \"?\$)([A-Za-z_]+)\"?`", item):
            variables[match[1]] = match[2]
        elif match := re.fullmatch(r"alter (?:role|user) (\S+) (?:with )?(?:login )?password (.+)", item):
            role, value = match[1], match[2]
            reference = re.fullmatch(r":'(\S+)'", value)
            if reference:
                given[role] = variables.get(reference[1], f"the unset variable {reference[1]}")
            elif value != "null":
                bad(f"password of {role}", "a psql variable in the form :'name'", "text in the file")
    for role, variable in wanted.items():
        if given.get(role) != variable:
            bad(f"password of {role}", f"the value of {variable}", given.get(role, "nothing"))
    for role in given:
        if role not in wanted:
            bad(f"password of {role}", "none from this file", given[role])
