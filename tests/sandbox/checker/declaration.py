"""A template set's set.toml against the contract: services, order, ports, probes and secrets as declared data.

The daemon starts and probes by these tables, the Compose file by its own; both must follow the same contract.
"""

import base64
import re
import tomllib
from pathlib import Path

from .folder import Violation

FILE = "set.toml"


def check(folder, data):
    """Violations of `<folder>/set.toml`; `data` is run.contracts()."""
    try:
        with open(Path(folder) / FILE, "rb") as file:
            found = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        return [Violation(FILE, "", "file", "a readable, well-formed file", str(error))]
    services = {row.get("name"): row for row in found.get("service", [])}
    rows = []
    for name in data["common"]["services"]:
        if name not in services:
            rows.append(Violation(FILE, name, "service", "this service", "nothing"))
    for name, service in services.items():
        if name in data["services"]:
            rows += _service(name, service, data["services"][name])
    rows += _ports(found, data["services"])
    rows += _secrets(found, data["secrets"])
    rows += _files(found, data["common"])
    return rows


def _service(name, found, contract):
    rows = []
    after = {row["service"]: row["until"] for row in found.get("after", [])}
    rule = contract.get("after", {})
    allowed = dict(item.split(":") for item in [*rule.get("required", []), *rule.get("optional", [])])
    for item in rule.get("required", []):
        service, until = item.split(":")
        if service not in after:
            rows.append(Violation(FILE, name, f"after.{service}", until.replace("*", "started or healthy"), "nothing"))
    for service, until in after.items():
        if allowed.get(service) not in ("*", until):
            rows.append(Violation(FILE, name, f"after.{service}", allowed.get(service, "no such dependency"), until))
    grace, limits = found.get("stop_grace_s", 10), contract["container"]["stop_grace_s"]
    if not limits["min"] <= grace <= limits["max"]:
        rows.append(Violation(FILE, name, "stop_grace_s", f"{limits['min']}-{limits['max']}", str(grace)))
    return rows + _probe(name, found.get("probe", {}), contract["probe"])


def _probe(name, found, wanted):
    rows = []
    if found.get("kind") != wanted["kind"]:
        return [Violation(FILE, name, "probe.kind", repr(wanted["kind"]), repr(found.get("kind")))]
    if wanted["kind"] == "login":
        if found.get("port") != wanted["port"]:
            rows.append(Violation(FILE, name, "probe.port", str(wanted["port"]), repr(found.get("port"))))
        return rows
    forms = [wanted, *([wanted["also"]] if "also" in wanted else [])]
    if not any(
        (found.get("port"), found.get("path")) == (form["port"], form["path"])
        and form["status"] in found.get("status", [])
        for form in forms
    ):
        expected = " or ".join(f":{form['port']}{form['path']} -> {form['status']}" for form in forms)
        rows.append(
            Violation(
                FILE, name, "probe", expected, f":{found.get('port')}{found.get('path')} -> {found.get('status')}"
            )
        )
    if "json" in wanted and found.get("json") != wanted["json"]:
        rows.append(Violation(FILE, name, "probe.json", repr(wanted["json"]), repr(found.get("json"))))
    return rows


def _ports(found, contracts):
    wanted = {
        (service, port)
        for service, contract in contracts.items()
        for port in contract["container"].get("ports", {}).values()
    }
    declared = {
        (row.get("service"), row.get("container")) for row in found.get("port", []) if row.get("service") in contracts
    }
    return [
        Violation(
            FILE,
            service,
            "port",
            f"container port {port} " + ("published" if (service, port) in wanted else "not published"),
            "the opposite",
        )
        for service, port in sorted(wanted ^ declared)
    ]


def _secrets(found, secrets):
    rows = []
    declared = {row.get("name"): row for row in found.get("secret", [])}
    for name, rule in secrets.items():
        row = declared.get(name)
        if row is None:
            rows.append(Violation(FILE, "", f"secret.{name}", "declared", "nothing"))
            continue
        if "jwt" in rule:
            claims = row.get("claims", {})
            if (row.get("signed_with"), claims.get("role"), claims.get("iss")) != (
                rule["jwt"]["signed_with"],
                rule["jwt"]["role"],
                rule["jwt"]["iss"],
            ):
                rows.append(Violation(FILE, "", f"secret.{name}", repr(rule["jwt"]), repr(claims)))
            if row.get("ttl_days", 0) < rule["jwt"]["min_days"]:
                rows.append(
                    Violation(
                        FILE,
                        "",
                        f"secret.{name}.ttl_days",
                        f"at least {rule['jwt']['min_days']}",
                        repr(row.get("ttl_days")),
                    )
                )
        elif not rule.get("never_in_files") and re.fullmatch(rule["pattern"], _sample(row)) is None:
            rows.append(
                Violation(
                    FILE,
                    "",
                    f"secret.{name}",
                    f"a value matching {rule['pattern']}",
                    f"{row.get('bytes')} bytes as {row.get('encoding')}",
                )
            )
        if "role" in rule and row.get("role") != rule["role"]:
            rows.append(Violation(FILE, "", f"secret.{name}.role", repr(rule["role"]), repr(row.get("role"))))
    return rows


def _sample(row):
    """A value of the declared size and alphabet; 0x69 encodes to letters first in both."""
    data = b"\x69" * int(row.get("bytes", 0))
    if row.get("encoding") == "hex":
        return data.hex()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _files(found, common):
    rows = []
    declared = {row.get("path"): row.get("mode") for row in found.get("file", [])}
    for name, rule in common["files"].items():
        wanted = "0644" if rule["readable_by_others"] else "0600"
        # .env is written by the host, not rendered.
        if name != ".env" and declared.get(name) != wanted:
            rows.append(Violation(FILE, "", f"file.{name}.mode", wanted, repr(declared.get(name))))
    return rows
