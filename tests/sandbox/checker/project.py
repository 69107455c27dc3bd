"""What is around the services: project name, network, volume, files, secrets."""

import base64
import hashlib
import hmac
import json
import re
import stat

from contractlib import rules

from .folder import Violation, facts, subnet

FILE = "docker-compose.yml"


def check(stack, common, secrets):
    return [*_top(stack, common), *_network(stack, common), *_volume(stack, common), *_fixed(stack, common)]


def _top(stack, common):
    rows = []
    ref = stack.compose.get("name")
    if not isinstance(ref, str) or re.fullmatch(common["project"]["ref"], ref) is None:
        rows.append(Violation(FILE, "", "name", f"text matching {common['project']['ref']}", repr(ref)))
    for key in stack.compose:
        if key not in ("name", "services", "networks", "volumes"):
            rows.append(Violation(FILE, "", key, "name, services, networks or volumes", "this key"))
    return rows


def _named(kind, found, wanted_name, ref, allowed):
    rows = []
    if found.get("name") != wanted_name:
        rows.append(Violation(FILE, "", f"{kind}.name", repr(wanted_name), repr(found.get("name"))))
    if (found.get("labels") or {}).get("io.supamanager.project") != ref:
        rows.append(Violation(FILE, "", f"{kind}.labels.io.supamanager.project", repr(ref), repr(found.get("labels"))))
    for key in found:
        if key not in allowed:
            rows.append(Violation(FILE, "", f"{kind}.{key}", "one of " + ", ".join(sorted(allowed)), "this key"))
    return rows


def _network(stack, common):
    ref = facts(stack)["ref"]
    networks = stack.compose.get("networks")
    if not isinstance(networks, dict) or set(networks) != {"default"} or not isinstance(networks["default"], dict):
        return [Violation(FILE, "", "networks", "default only", repr(networks))]
    found = networks["default"]
    rows = _named(
        "networks.default",
        found,
        common["project"]["network_name"].format(ref=ref),
        ref,
        {"name", "driver", "ipam", "labels"},
    )
    if found.get("driver") != "bridge":
        rows.append(Violation(FILE, "", "networks.default.driver", "'bridge'", repr(found.get("driver"))))
    parts = subnet(stack)
    if parts is None:
        return [
            *rows,
            Violation(
                FILE, "", "networks.default.ipam.config", "subnet, gateway and ip_range", repr(found.get("ipam"))
            ),
        ]
    net, gateway, dynamic = parts
    if net.prefixlen != common["project"]["prefix_length"] or not net.is_private:
        rows.append(
            Violation(
                FILE,
                "",
                "networks.default.ipam.config.subnet",
                f"a private /{common['project']['prefix_length']}",
                str(net),
            )
        )
    if gateway != net.network_address + 1:
        rows.append(
            Violation(FILE, "", "networks.default.ipam.config.gateway", str(net.network_address + 1), str(gateway))
        )
    if (
        dynamic.prefixlen != common["project"]["dynamic_prefix_length"]
        or dynamic.network_address != net.network_address
    ):
        rows.append(
            Violation(FILE, "", "networks.default.ipam.config.ip_range", f"the lower half of {net}", str(dynamic))
        )
    return rows


def _fixed(stack, common):
    """Vector's address: where the log drivers of the other nine send to."""
    parts = subnet(stack)
    try:
        found = stack.compose["services"]["vector"]["networks"]["default"]["ipv4_address"]
    except (KeyError, TypeError):
        return []
    if parts is None:
        return []
    wanted = str(parts[0].network_address + common["project"]["fixed_host"])
    return [] if found == wanted else [Violation(FILE, "vector", "networks.default.ipv4_address", wanted, repr(found))]


def _volume(stack, common):
    ref = facts(stack)["ref"]
    volumes = stack.compose.get("volumes")
    if not isinstance(volumes, dict) or set(volumes) != {"db-config"} or not isinstance(volumes["db-config"], dict):
        return [Violation(FILE, "", "volumes", "db-config only", repr(volumes))]
    found = volumes["db-config"]
    rows = _named(
        "volumes.db-config",
        found,
        common["project"]["volume_name"].format(ref=ref),
        ref,
        {"name", "driver", "driver_opts", "labels"},
    )
    if found.get("driver") != "local":
        rows.append(Violation(FILE, "", "volumes.db-config.driver", "'local'", repr(found.get("driver"))))
    options = found.get("driver_opts") or {}
    for key, pattern in (("type", "none"), ("o", "bind"), ("device", "/.+/volumes/db-config")):
        if not isinstance(options.get(key), str) or re.fullmatch(pattern, options[key]) is None:
            rows.append(
                Violation(
                    FILE, "", f"volumes.db-config.driver_opts.{key}", f"text matching {pattern}", repr(options.get(key))
                )
            )
    for key in options:
        if key not in ("type", "o", "device"):
            rows.append(
                Violation(FILE, "", f"volumes.db-config.driver_opts.{key}", "type, o or device", repr(options[key]))
            )
    return rows


def check_modes(stack, common):
    rows = []
    for name, rule in common["files"].items():
        mode = stack.modes.get(name)
        if mode is None:
            continue
        readable = bool(mode & stat.S_IROTH)
        if readable != rule["readable_by_others"]:
            wanted = "readable by the container's user (0644)" if rule["readable_by_others"] else "0600"
            rows.append(Violation(name, "", "mode", wanted, f"{mode:04o}"))
    return rows


def referenced(stack):
    """Every `${NAME}` of docker-compose.yml, with the services that use it."""
    found = {}
    for name, service in (stack.compose.get("services") or {}).items():
        environment = service.get("environment") if isinstance(service, dict) else None
        for value in (environment or {}).values() if isinstance(environment, dict) else ():
            for match in rules.REFERENCE.finditer(str(value)):
                found.setdefault(match[1], set()).add(name)
    return found


def check_secrets(stack, secrets):
    """`.env` holds exactly what the compose file mentions, each in its shape, no two alike."""
    rows = []
    used = referenced(stack)
    for name in sorted(used):
        if name not in secrets:
            rows.append(
                Violation(
                    FILE,
                    ", ".join(sorted(used[name])),
                    "environment",
                    "a reference to a declared secret",
                    "${" + name + "}",
                )
            )
        elif secrets[name].get("never_in_files"):
            rows.append(
                Violation(
                    FILE, ", ".join(sorted(used[name])), "environment", "no reference to this secret", "${" + name + "}"
                )
            )
        elif name not in stack.env:
            rows.append(Violation(".env", "", name, "a value: docker-compose.yml refers to it", "nothing"))
    for name, value in stack.env.items():
        if name not in used:
            rows.append(Violation(".env", "", name, "only what docker-compose.yml refers to", "this name"))
        elif name in secrets and re.fullmatch(secrets[name]["pattern"], value) is None:
            rows.append(
                Violation(
                    ".env",
                    "",
                    name,
                    f"text matching {secrets[name]['pattern']}",
                    f"something else ({len(value)} characters)",
                )
            )
        elif name in secrets and "jwt" in secrets[name]:
            rows += _token(name, value, secrets[name]["jwt"], stack.env)
    values = {}
    for name, value in stack.env.items():
        if value in values:
            rows.append(Violation(".env", "", name, "a value of its own", f"the value of {values[value]}"))
        values.setdefault(value, name)
    return rows


def _token(name, value, rule, env):
    """Signed with the stack's secret, HS256 and typ JWT, right role and a far end (stack-facts 6)."""
    head, payload, signature = value.split(".")
    try:
        header, claims = json.loads(_decode(head)), json.loads(_decode(payload))
    except ValueError:
        return [Violation(".env", "", name, "a JSON Web Token", "something else")]
    wanted = hmac.new(env.get(rule["signed_with"], "").encode(), f"{head}.{payload}".encode(), hashlib.sha256).digest()
    rows = []
    if header.get("alg") != "HS256" or header.get("typ") != "JWT":
        rows.append(Violation(".env", "", name, "a header with alg HS256 and typ JWT", repr(header)))
    if not hmac.compare_digest(wanted, _decode(signature)):
        rows.append(Violation(".env", "", name, f"a signature made with {rule['signed_with']}", "another signature"))
    for key in ("role", "iss"):
        if claims.get(key) != rule[key]:
            rows.append(Violation(".env", "", name, f"claim {key} = {rule[key]!r}", repr(claims.get(key))))
    begin, end = claims.get("iat"), claims.get("exp")
    if not isinstance(begin, int) or not isinstance(end, int) or end - begin < rule["min_days"] * 86400:
        rows.append(
            Violation(".env", "", name, f"iat and exp at least {rule['min_days']} days apart", f"{begin} and {end}")
        )
    return rows


def _decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_root_key(stack, secrets):
    pattern = secrets["PGSODIUM_ROOT_KEY"]["pattern"]
    text = resolved_key(stack)
    if re.fullmatch(pattern, text) is None:
        return [
            Violation(
                "pgsodium_root.key",
                "",
                "content",
                f"text matching {pattern}",
                f"something else ({len(text)} characters)",
            )
        ]
    return []


def resolved_key(stack):
    """Before substitution the file is the reference alone; then the shape is the host's to keep."""
    text = stack.root_key.strip()
    return "0" * 64 if text == "${PGSODIUM_ROOT_KEY}" else text
