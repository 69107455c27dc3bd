"""The plugins a stack uses, in Kong's order of priority: cors, basic-auth, key-auth, acl, request-transformer,
request-termination.

Each takes the exchange so far and either changes it or returns an answer that ends it.
"""

import base64
import binascii
from urllib.parse import urlencode


class Exchange:
    """One request on its way: what the client sent, and what will go upstream."""

    def __init__(self, method, path, pairs, headers):
        self.method, self.path = method, path
        self.pairs = list(pairs)
        self.headers = headers  # list of (name, value), order kept
        self.consumer = None
        self.credential = None
        self.reply_headers = []

    def get(self, name):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    def drop(self, name):
        self.headers[:] = [(key, value) for key, value in self.headers if key.lower() != name.lower()]

    def set(self, name, value):
        self.drop(name)
        self.headers.append((name, value))

    def query(self):
        return urlencode(self.pairs)


class Ends(Exception):
    """The plugin answers itself."""

    def __init__(self, status, message=None, headers=(), body=None, content_type=None):
        super().__init__(message)
        self.status, self.message, self.headers, self.body, self.content_type = (
            status,
            message,
            headers,
            body,
            content_type,
        )


def run(exchange, plugins, gateway):
    """Applies the plugins of the matched route."""
    if "cors" in plugins:
        _cors(exchange, plugins["cors"])
    if "basic-auth" in plugins:
        _basic_auth(exchange, plugins["basic-auth"], gateway)
    if "key-auth" in plugins:
        _key_auth(exchange, plugins["key-auth"], gateway)
    if "acl" in plugins:
        _acl(exchange, plugins["acl"], gateway)
    if "request-transformer" in plugins:
        _transform(exchange, plugins["request-transformer"])
    if "request-termination" in plugins:
        _terminate(plugins["request-termination"])


def _cors(exchange, config):
    origin = exchange.get("Origin")
    allowed = config.get("origins") or ["*"]
    value = (
        "*"
        if "*" in allowed and not config.get("credentials")
        else origin if "*" in allowed or origin in allowed else None
    )
    if value is not None:
        exchange.reply_headers.append(("Access-Control-Allow-Origin", value))
    if config.get("credentials"):
        exchange.reply_headers.append(("Access-Control-Allow-Credentials", "true"))
    if config.get("exposed_headers"):
        exchange.reply_headers.append(("Access-Control-Expose-Headers", ",".join(config["exposed_headers"])))
    asked = exchange.get("Access-Control-Request-Method")
    if exchange.method == "OPTIONS" and origin and asked and not config.get("preflight_continue"):
        methods = config.get("methods") or [
            "GET",
            "HEAD",
            "PUT",
            "PATCH",
            "POST",
            "DELETE",
            "OPTIONS",
            "TRACE",
            "CONNECT",
        ]
        headers = [
            ("Access-Control-Allow-Methods", ",".join(methods)),
            (
                "Access-Control-Allow-Headers",
                (
                    ",".join(config["headers"])
                    if config.get("headers")
                    else exchange.get("Access-Control-Request-Headers") or ""
                ),
            ),
        ]
        if config.get("max_age") is not None:
            headers.append(("Access-Control-Max-Age", str(config["max_age"])))
        raise Ends(200, headers=headers, body="")


def _terminate(config):
    raise Ends(
        config.get("status_code", 503),
        config.get("message"),
        body=config.get("body"),
        content_type=config.get("content_type"),
    )


def _key_auth(exchange, config, gateway):
    if exchange.method == "OPTIONS" and config.get("run_on_preflight") is False:
        return
    key = None
    for name in config.get("key_names") or ["apikey"]:
        if config.get("key_in_header", True) and exchange.get(name):
            key = exchange.get(name)
            if config.get("hide_credentials"):
                exchange.drop(name)
        elif config.get("key_in_query", True):
            values = [value for key_name, value in exchange.pairs if key_name == name]
            if values:
                key = values[0]
                if config.get("hide_credentials"):
                    exchange.pairs[:] = [pair for pair in exchange.pairs if pair[0] != name]
        if key:
            break
    if not key:
        raise Ends(401, "No API key found in request", [("WWW-Authenticate", 'Key realm="kong"')])
    if key not in gateway.keys:
        raise Ends(401, "Invalid authentication credentials")
    _authenticated(exchange, gateway.keys[key])


def _basic_auth(exchange, config, gateway):
    kind, _, value = (exchange.get("Authorization") or "").partition(" ")
    if kind.lower() != "basic":
        raise Ends(401, "Unauthorized", [("WWW-Authenticate", 'Basic realm="kong"')])
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, password = "", ""
    known = gateway.basic.get(user)
    if known is None or known[0] != password:
        raise Ends(401, "Invalid authentication credentials")
    if config.get("hide_credentials"):
        exchange.drop("Authorization")
    _authenticated(exchange, known[1])


def _authenticated(exchange, consumer):
    exchange.consumer = consumer
    exchange.set("X-Consumer-Username", consumer)
    exchange.set("X-Credential-Identifier", consumer)
    exchange.drop("X-Anonymous-Consumer")


def _acl(exchange, config, gateway):
    if exchange.consumer is None:
        raise Ends(401, "Unauthorized")
    groups = gateway.groups.get(exchange.consumer, set())
    allow, deny = config.get("allow"), config.get("deny")
    if (allow and not groups & set(allow)) or (deny and groups & set(deny)):
        raise Ends(403, "You cannot consume this service")
    if not config.get("hide_groups_header"):
        exchange.set("X-Consumer-Groups", ", ".join(sorted(groups)))


def _transform(exchange, config):
    """Headers only, in Kong's order: remove, rename, replace, add (if absent), append."""
    for name in (config.get("remove") or {}).get("headers") or []:
        exchange.drop(name)
    for old, new in _pairs(config, "rename"):
        value = exchange.get(old)
        if value is not None:
            exchange.drop(old)
            exchange.set(new, value)
    for name, value in _pairs(config, "replace"):
        if exchange.get(name) is not None:
            exchange.set(name, value)
    for name, value in _pairs(config, "add"):
        if exchange.get(name) is None:
            exchange.set(name, value)
    for name, value in _pairs(config, "append"):
        exchange.headers.append((name, value))


def _pairs(config, kind):
    for item in (config.get(kind) or {}).get("headers") or []:
        name, _, value = item.partition(":")
        yield name.strip(), value.strip()
