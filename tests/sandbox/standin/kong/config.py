"""Reads and judges kong.yml: what Kong 2.8 would not load, this does not load either."""

from urllib.parse import urlsplit

import yaml

SERVER_PLUGINS = ("request-transformer", "cors", "key-auth", "acl", "basic-auth", "request-termination")

_TOP = {
    "_format_version",
    "_transform",
    "services",
    "routes",
    "consumers",
    "plugins",
    "acls",
    "keyauth_credentials",
    "basicauth_credentials",
    "_comment",
}
_SERVICE = {
    "name",
    "url",
    "protocol",
    "host",
    "port",
    "path",
    "routes",
    "plugins",
    "connect_timeout",
    "read_timeout",
    "write_timeout",
    "retries",
    "tags",
    "enabled",
    "_comment",
}
_ROUTE = {
    "name",
    "paths",
    "strip_path",
    "methods",
    "hosts",
    "protocols",
    "preserve_host",
    "plugins",
    "tags",
    "path_handling",
    "request_buffering",
    "response_buffering",
    "regex_priority",
    "_comment",
}
_CONSUMER = {"username", "custom_id", "keyauth_credentials", "basicauth_credentials", "acls", "tags", "_comment"}
_PLUGIN = {"name", "config", "enabled", "tags", "protocols", "_comment"}
_PLUGIN_CONFIG = {
    "key-auth": {
        "key_names",
        "hide_credentials",
        "anonymous",
        "run_on_preflight",
        "key_in_body",
        "key_in_header",
        "key_in_query",
    },
    "basic-auth": {"hide_credentials", "anonymous"},
    "acl": {"allow", "deny", "hide_groups_header"},
    "cors": {"origins", "methods", "headers", "exposed_headers", "credentials", "max_age", "preflight_continue"},
    "request-transformer": {"add", "append", "remove", "rename", "replace", "http_method"},
    "request-termination": {"status_code", "message", "body", "content_type", "trigger", "echo"},
}


class Invalid(Exception):
    """Why the file is not loaded, naming the place in it."""


class Route:
    """One path and where it leads."""

    def __init__(self, path, strip, methods, service, plugins):
        self.path, self.strip, self.methods = path, strip, methods
        self.service, self.plugins = service, plugins


class Service:
    """One upstream."""

    def __init__(self, name, host, port, path, read_timeout_s):
        self.name, self.host, self.port, self.path, self.read_timeout_s = name, host, port, path, read_timeout_s


class Gateway:
    """The loaded file: routes longest path first, credentials by value."""

    def __init__(self):
        self.routes, self.keys, self.basic, self.groups = [], {}, {}, {}

    def match(self, method, path):
        """Kong takes the longest prefix that matches."""
        for route in self.routes:
            if path.startswith(route.path) and (not route.methods or method in route.methods):
                return route
        return None


def load(path, enabled):
    """The gateway of a file, or Invalid. `enabled` is the list of KONG_PLUGINS."""
    for name in enabled:
        if name not in SERVER_PLUGINS:
            raise Invalid(f"KONG_PLUGINS: plugin '{name}' is enabled but not installed")
    try:
        with open(path, encoding="utf-8") as file:
            data = yaml.safe_load(file)
    except OSError as error:
        raise Invalid(f"failed reading declarative config file {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise Invalid(f"failed parsing declarative config file {path}: {error}") from None
    if not isinstance(data, dict):
        raise Invalid(f"{path}: expected a map")
    _known(data, _TOP, "the file")
    if data.get("_format_version") not in ("1.1", "2.1"):
        raise Invalid(f"_format_version: expected one of 1.1, 2.1 (as text), found {data.get('_format_version')!r}")
    gateway = Gateway()
    _consumers(gateway, data.get("consumers") or [])
    shared = _plugins(data.get("plugins") or [], enabled, "the file")
    names, route_names = set(), set()
    for service in data.get("services") or []:
        _service(gateway, service, shared, enabled, names, route_names)
    gateway.routes.sort(key=lambda route: -len(route.path))
    return gateway


def _known(item, allowed, where):
    if not isinstance(item, dict):
        raise Invalid(f"{where}: expected a map, found {type(item).__name__}")
    for key in item:
        if key not in allowed:
            raise Invalid(f"{where}: unknown field {key!r}")


def _unique(name, names, where):
    if not isinstance(name, str) or not name:
        raise Invalid(f"{where}: name: required field missing")
    if name in names:
        raise Invalid(f"{where}: uniqueness violation: name {name!r} is used twice")
    names.add(name)


def _consumers(gateway, consumers):
    names = set()
    for consumer in consumers:
        where = f"consumers.{consumer.get('username') if isinstance(consumer, dict) else consumer}"
        _known(consumer, _CONSUMER, where)
        name = consumer.get("username")
        _unique(name, names, where)
        for credential in consumer.get("keyauth_credentials") or []:
            _known(credential, {"key", "tags", "ttl"}, f"{where}.keyauth_credentials")
            key = credential.get("key")
            if not isinstance(key, str) or not key:
                raise Invalid(f"{where}.keyauth_credentials.key: expected text")
            if key in gateway.keys:
                raise Invalid(f"{where}.keyauth_credentials: uniqueness violation: the key is used twice")
            gateway.keys[key] = name
        for credential in consumer.get("basicauth_credentials") or []:
            _known(credential, {"username", "password", "tags"}, f"{where}.basicauth_credentials")
            gateway.basic[credential.get("username")] = (credential.get("password"), name)
        gateway.groups[name] = set()
        for acl in consumer.get("acls") or []:
            _known(acl, {"group", "tags"}, f"{where}.acls")
            gateway.groups[name].add(acl.get("group"))


def _service(gateway, service, shared, enabled, names, route_names):
    where = f"services.{service.get('name') if isinstance(service, dict) else service}"
    _known(service, _SERVICE, where)
    _unique(service.get("name"), names, where)
    if service.get("enabled") is False:
        return
    target = _target(service, where)
    plugins = {**shared, **_plugins(service.get("plugins") or [], enabled, where)}
    for route in service.get("routes") or []:
        at = f"{where}.routes.{route.get('name') if isinstance(route, dict) else route}"
        _known(route, _ROUTE, at)
        _unique(route.get("name"), route_names, at)
        own = {**plugins, **_plugins(route.get("plugins") or [], enabled, at)}
        if not route.get("paths"):
            raise Invalid(f"{at}: must set one of 'methods', 'hosts', 'headers', 'paths' (this gateway needs paths)")
        for path in route["paths"]:
            if not isinstance(path, str) or not path.startswith("/"):
                raise Invalid(f"{at}.paths: should start with: /")
            if set(path) & set("()[]*+?\\^$|"):
                raise Invalid(f"{at}.paths: regular expressions are not understood by this stand-in: {path}")
            strip = route.get("strip_path", True)
            gateway.routes.append(Route(path, strip, route.get("methods") or [], target, own))


def _target(service, where):
    if "url" in service:
        try:
            parts = urlsplit(service["url"])
            port = parts.port
        except (ValueError, AttributeError):
            raise Invalid(f"{where}.url: not a URL: {service['url']!r}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{where}.url: missing host in url")
        host, port, path = parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path
    else:
        if not service.get("host"):
            raise Invalid(f"{where}.host: required field missing")
        host, port, path = service["host"], service.get("port", 80), service.get("path") or ""
    return Service(service["name"], host, port, path or "/", service.get("read_timeout", 60000) / 1000)


def _plugins(plugins, enabled, where):
    found = {}
    for plugin in plugins:
        _known(plugin, _PLUGIN, f"{where}.plugins")
        name = plugin.get("name")
        if name not in enabled:
            raise Invalid(
                f"{where}.plugins: plugin '{name}' not enabled; add it to the 'plugins' configuration property"
            )
        if name in found:
            raise Invalid(f"{where}.plugins: uniqueness violation: {name} is there twice")
        config = plugin.get("config") or {}
        _known(config, _PLUGIN_CONFIG[name], f"{where}.plugins.{name}.config")
        if name == "acl" and bool(config.get("allow")) == bool(config.get("deny")):
            raise Invalid(f"{where}.plugins.acl.config: exactly one of these fields must be non-empty: 'allow', 'deny'")
        if plugin.get("enabled", True):
            found[name] = config
    return found
