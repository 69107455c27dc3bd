"""kong.yml against gateway.toml (the table of stack-facts 5)."""

from .folder import Violation, resolved

FILE = "kong.yml"
_TOP = {"_format_version", "_transform", "consumers", "services"}
_ROUTE_KEYS = {"name", "strip_path", "paths"}
_SERVICE_KEYS = {"name", "url", "routes", "plugins"}
_ALLOWED = {
    "cors": set(),
    "key-auth": {"hide_credentials"},
    "acl": {"hide_groups_header", "allow"},
    "request-transformer": {"add"},
    "basic-auth": {"hide_credentials"},
    "request-termination": {"status_code", "message"},
}


def check(stack, contract):
    kong, rows = stack.kong, []
    if kong.get("_format_version") != contract["format_version"]:
        rows.append(
            Violation(FILE, "", "_format_version", repr(contract["format_version"]), repr(kong.get("_format_version")))
        )
    if kong.get("_transform") is not contract["transform"]:
        rows.append(
            Violation(
                FILE, "", "_transform", "true: basic-auth passwords are hashed on load", repr(kong.get("_transform"))
            )
        )
    for key in kong:
        if key not in _TOP:
            rows.append(Violation(FILE, "", key, "one of " + ", ".join(sorted(_TOP)), "this key"))
    return rows + _consumers(stack, contract) + _services(kong, contract)


def _maps(value):
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _by_name(items, key, where, rows):
    found = {}
    for item in items:
        name = item.get(key)
        if name in found:
            rows.append(Violation(FILE, str(name), where, "one of this name", "two"))
        found[name] = item
    return found


def _consumers(stack, contract):
    rows = []
    found = _by_name(_maps(stack.kong.get("consumers")), "username", "consumers", rows)
    for name, rule in contract["consumers"].items():
        consumer = found.get(name)
        if consumer is None:
            rows.append(Violation(FILE, name, "consumers", "this consumer", "nothing"))
            continue
        keys = [resolved(str(item.get("key")), stack.env) for item in _maps(consumer.get("keyauth_credentials"))]
        wanted = (stack.env or {}).get(rule["key"], "${" + rule["key"] + "}")
        if keys != [wanted]:
            rows.append(
                Violation(
                    FILE, name, "keyauth_credentials.key", f"the value of {rule['key']}", f"{len(keys)} other value(s)"
                )
            )
        groups = [item.get("group") for item in _maps(consumer.get("acls"))]
        if groups != [rule["group"]]:
            rows.append(Violation(FILE, name, "acls.group", repr([rule["group"]]), repr(groups)))
        for key in consumer:
            if key not in ("username", "keyauth_credentials", "acls"):
                rows.append(Violation(FILE, name, key, "username, keyauth_credentials or acls", "this key"))
    for name in found:
        if name not in contract["consumers"] and name not in contract["optional_consumers"]:
            rows.append(Violation(FILE, str(name), "consumers", "a consumer of the contract", "this one"))
    return rows


def _services(kong, contract):
    rows = []
    found = _by_name(_maps(kong.get("services")), "name", "services", rows)
    for name, rule in contract["services"].items():
        if name not in found:
            rows.append(Violation(FILE, name, "services", f"this service for {rule['path']}", "nothing"))
        else:
            rows += _service(name, found[name], rule)
    routes = [
        (name, path)
        for name, service in found.items()
        for route in _maps(service.get("routes"))
        for path in (route.get("paths") or [])
        if isinstance(route.get("paths"), list)
    ]
    for name, path in routes:
        if path in contract["forbidden"]:
            rows.append(Violation(FILE, str(name), "routes.paths", f"not {path}: {contract['forbidden'][path]}", path))
        elif name not in contract["services"]:
            rows.append(Violation(FILE, str(name), "services", "a service of the contract", f"a route for {path}"))
    paths = [path for _, path in routes]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        rows.append(Violation(FILE, "", "routes.paths", f"one route for {path}", f"{paths.count(path)}"))
    names = [route.get("name") for service in found.values() for route in _maps(service.get("routes"))]
    for route in sorted({str(route) for route in names if route is None or names.count(route) > 1}):
        rows.append(Violation(FILE, "", "routes.name", "a name of its own for every route", route))
    return rows


def _service(name, found, rule):
    rows = []

    def bad(key, expected, value):
        rows.append(Violation(FILE, name, key, expected, repr(value)))

    if found.get("url") != rule["url"]:
        bad("url", repr(rule["url"]), found.get("url"))
    for key in found:
        if key not in _SERVICE_KEYS:
            bad(key, "one of " + ", ".join(sorted(_SERVICE_KEYS)), found[key])
    routes = _maps(found.get("routes"))
    if len(routes) != 1:
        bad("routes", "one route", len(routes))
    for route in routes:
        if route.get("paths") != [rule["path"]]:
            bad("routes.paths", repr([rule["path"]]), route.get("paths"))
        if route.get("strip_path") is not True:
            bad("routes.strip_path", "true", route.get("strip_path"))
        for key in route:
            if key not in _ROUTE_KEYS:
                bad(f"routes.{key}", "one of " + ", ".join(sorted(_ROUTE_KEYS)), route[key])
    plugins = _by_name(_maps(found.get("plugins")), "name", "plugins", rows)
    wanted = _wanted(rule)
    for plugin in wanted:
        if plugin not in plugins:
            bad(f"plugins.{plugin}", "this plugin", None)
            continue
        config = plugins[plugin].get("config") or {}
        for key, value in wanted[plugin].items():
            seen = sorted(config[key]) if isinstance(config.get(key), list) else config.get(key)
            if seen != value:
                bad(f"plugins.{plugin}.{key}", repr(value), config.get(key))
        for key in config:
            if key not in _ALLOWED[plugin]:
                bad(f"plugins.{plugin}.{key}", "an option of the contract", config[key])
    for plugin in plugins:
        if plugin not in wanted:
            bad(f"plugins.{plugin}", "a plugin of the contract", plugin)
    return rows


def _wanted(rule):
    """Plugin -> options it must have, from one row of the table."""
    plugins = {}
    if rule.get("cors"):
        plugins["cors"] = {}
    if "key_auth" in rule:
        plugins["key-auth"] = {"hide_credentials": rule["key_auth"]["hide_credentials"]}
    if "acl" in rule:
        plugins["acl"] = {"hide_groups_header": True, "allow": sorted(rule["acl"])}
    if "add_headers" in rule:
        plugins["request-transformer"] = {"add": {"headers": rule["add_headers"]}}
    return plugins
