#!/usr/bin/env python3
"""Holds the contract files against the tables of tests/design/stack-facts.md.

The contract was written from that document by hand; this finds the row that was overlooked. Each variable of sections
3.1-3.10, the gateway's table and consumers (5), ports (2.2), names (2.3), probes (3.11), sinks (7) and secrets (2.1)
must be in the contract, or in contract/exceptions.toml with a reason.

usage: facts.py [STACK-FACTS.md]      exit 1 and one line per missing row
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from contractlib import load  # noqa: E402  (the folder of this script must be on the path first)

DOCUMENT = HERE.parent / "design" / "stack-facts.md"


class Facts:
    """The document's sections and their tables."""

    def __init__(self, text):
        self.sections = {}
        current = ""
        for line in text.splitlines():
            if match := re.match(r"#{2,3} ([0-9]+(?:\.[0-9]+)?)", line):
                current = match[1]
            self.sections.setdefault(current, []).append(line)

    def rows(self, section, after=None):
        """Cells of every table row of a section (header and rule lines left out)."""
        lines = self.sections.get(section, [])
        if after is not None:
            start = next((index for index, line in enumerate(lines) if line.startswith(after)), len(lines))
            lines = lines[start:]
        rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
        if not rows:
            sys.exit(f"facts.py: section {section} has no table: is this the right document?")
        return [
            row
            for index, row in enumerate(rows)
            if not set("".join(row)) <= set("-: ")
            and not (index + 1 < len(rows) and set("".join(rows[index + 1])) <= set("-: "))
        ]


def names(cell):
    """Variable names of a cell: `A`, `B`; `A`/`B`; and `PREFIX_A/B/C`."""
    found = []
    for quoted in re.findall(r"`([A-Z][A-Z0-9_]*(?:/[A-Z][A-Z0-9_]*)*)`", cell):
        first, *others = quoted.split("/")
        found += [first, *(first[: first.rindex("_") + 1] + other if "_" in first else other for other in others)]
    return found


class Comparison:
    def __init__(self, facts):
        self.facts = facts
        self.exceptions = load.read("exceptions")
        self.contracts = load.services()
        self.missing, self.used, self.rows = [], set(), 0

    def expect(self, condition, kind, name, message):
        self.rows += 1
        if condition:
            return
        if name in self.exceptions.get(kind, {}):
            self.used.add((kind, name))
        else:
            self.missing.append(f"{kind}: {name}: {message}")

    def unused(self):
        """An exception that excuses nothing is a leftover."""
        for kind, entries in self.exceptions.items():
            for name in entries:
                if (kind, name) not in self.used:
                    self.missing.append(f"exceptions: {kind}.{name}: excuses nothing, remove it")

    def variables(self):
        for service, contract in self.contracts.items():
            if service == "vector":
                continue  # 3.10 names its one variable in a sentence, not in a table
            for row in self.facts.rows(contract["facts"]):
                if row[0].startswith("`/") or row[0].startswith("or,"):
                    continue
                found = names(row[0])
                for index, name in enumerate(found):
                    rule = contract["env"].get(name)
                    self.expect(rule is not None, "variables", f"{service}.{name}", "not in the contract")
                    if rule is not None:
                        self._value(service, name, rule, row[1] if len(row) > 1 else "", index, len(found))

    def _value(self, service, name, rule, cell, index, count):
        """A cell that begins with a literal (or has one per name) gives the rule's value."""
        parts = re.split(r"(?<=`)/(?=`)|; ", cell) if count > 1 else [cell]
        part = parts[index] if len(parts) == count else parts[0]
        match = re.match(r'`"?([^`"]+)"?`', part)
        if match is None or "value" not in rule or "PASSWORD" in match[1]:
            return
        self.expect(
            rule["value"] == match[1],
            "values",
            f"{service}.{name}",
            f"stack-facts says {match[1]!r}, the contract {rule['value']!r}",
        )

    def gateway(self):
        contract = load.read("gateway")
        for row in self.facts.rows("5", "**Services and routes**"):
            if len(row) != 7:
                continue
            name, url, path = row[0], row[1].strip("`"), row[2].strip("`")
            rule = contract["services"].get(name)
            self.expect(rule is not None, "gateway", name, "not in gateway.toml")
            if rule is None:
                continue
            wanted = {
                "url": url,
                "path": path,
                "cors": row[3] == "yes",
                "key_auth": None if row[4] == "-" else row[4] == "true",
                "acl": None if row[5] == "-" else sorted(item.strip() for item in row[5].split(",")),
            }
            found = {
                "url": rule["url"],
                "path": rule["path"],
                "cors": rule.get("cors", False),
                "key_auth": rule["key_auth"]["hide_credentials"] if "key_auth" in rule else None,
                "acl": sorted(rule["acl"]) if "acl" in rule else None,
            }
            for key, value in wanted.items():
                self.expect(
                    found[key] == value,
                    "gateway",
                    f"{name}.{key}",
                    f"stack-facts says {value!r}, the contract {found[key]!r}",
                )
            for header in re.findall(r"adds header `([^`]+)`", row[6]):
                self.expect(
                    header in rule.get("add_headers", []), "gateway", f"{name}.header", f"{header} is not added"
                )
        for row in self.facts.rows("5", "**Consumers**"):
            if len(row) == 3:
                name = row[0].strip("`")
                rule = contract["consumers"].get(name)
                group = row[2].strip("`")
                self.expect(
                    rule is not None and rule["key"] in row[1] and rule["group"] == group,
                    "consumers",
                    name,
                    f"expected {row[1]} in group {group}",
                )

    def ports(self):
        for row in self.facts.rows("2.2"):
            service = row[0].split(" ")[0]
            contract = self.contracts.get(service)
            self.expect(contract is not None, "ports", service, "no contract")
            if contract is None:
                continue
            first = int(re.match(r"\d+", row[1])[0])
            self.expect(first in contract["container"]["listens"], "ports", f"{service}.{first}", "not among `listens`")
            published = row[2].startswith("yes") or row[2].startswith("8000")
            found = first in contract["container"].get("ports", {}).values()
            self.expect(published == found, "ports", f"{service}.published", f"stack-facts says {row[2]!r}")

    def aliases(self):
        text = " ".join(self.facts.sections["2.3"])
        listed = re.findall(r"`([a-z.-]+)`", text.split("Aliases must")[0])
        known = {alias for contract in self.contracts.values() for alias in contract["container"]["aliases"]}
        for name in listed:
            if name not in ("studio", "functions"):
                self.expect(name in known, "aliases", name, "no contract has this alias")

    def probes(self):
        for row in self.facts.rows("3.11"):
            if row[0] not in self.contracts:
                continue
            rule = self.contracts[row[0]].get("probe", {})
            if rule.get("kind") == "login":
                self.expect("select 1" in row[1], "probes", row[0], "a login with select 1")
                continue
            places = re.findall(r"`GET :(\d+)(/[^`]*)`", row[1])
            self.expect(
                (str(rule.get("port")), rule.get("path")) in places, "probes", row[0], f"stack-facts says {places}"
            )
            self.expect(str(rule.get("status")) in row[2], "probes", f"{row[0]}.status", f"stack-facts says {row[2]}")

    def sinks(self):
        contract = load.read("vector-pipeline")
        for row in self.facts.rows("7"):
            if len(row) != 2 or not row[1].startswith("`"):
                continue
            service = row[0].split("_")[0].split(" ")[0]
            rule = contract["services"].get(service)
            self.expect(
                rule is not None and rule["source_name"] == row[1].strip("`"), "sinks", row[0], f"no sink to {row[1]}"
            )

    def roles(self):
        """Every role of 4.2 is made by the db image, and each one that logs in over the network gets a password (4.3)."""
        made = "".join(path.read_text(encoding="utf-8") for path in sorted((HERE / "standin" / "db").rglob("*.sql")))
        passwords = load.read("database")["passwords"]
        for row in self.facts.rows("4.2"):
            if "login" not in row[1] and "pgsodium" not in row[1]:
                continue
            for name in re.findall(r"`([a-z_]+)`", row[0]):
                known = name == "postgres" or re.search(rf"create (role|user) {name}\b", made) is not None
                self.expect(known, "roles", name, "the db image does not make it")
                if re.search(r"\bno password\b", row[1].replace("**", "")):
                    self.expect(name in passwords, "roles", f"{name}.password", "init.sql is not asked to set one")

    def secrets(self):
        known = load.read("secrets")
        for row in self.facts.rows("2.1"):
            name = (names(row[0]) or [row[0].split(" ")[0]])[0]
            self.expect(name in known or name.upper() + "_ROOT_KEY" in known, "secrets", name, "not in secrets.toml")


def main():
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENT
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        sys.exit(f"facts.py: cannot read {path}: {error.strerror}")
    comparison = Comparison(Facts(text))
    for check in (
        comparison.variables,
        comparison.gateway,
        comparison.ports,
        comparison.aliases,
        comparison.probes,
        comparison.sinks,
        comparison.roles,
        comparison.secrets,
        comparison.unused,
    ):
        check()
    for line in comparison.missing:
        print(line)
    print(f"stack-facts: {comparison.rows} facts compared, {len(comparison.missing)} missing")
    sys.exit(1 if comparison.missing else 0)


if __name__ == "__main__":
    main()
