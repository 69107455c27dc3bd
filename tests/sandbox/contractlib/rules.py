"""The value rules of the contract: what one environment variable (or URL, or secret) must look like.

A rule is a small table from a contract file. The same rule is asked in two places that see different text:

* the checker reads docker-compose.yml, where a secret is still the reference `${NAME}`;
* a stand-in reads its real environment, where the reference has become a value.

`Text` hides the difference: it knows how to say "is this the secret NAME".
"""

import re
from urllib.parse import parse_qsl, urlsplit

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Rendered:
    """Text as it stands in the rendered files: secrets are references, project facts are known."""

    def __init__(self, facts):
        self.facts = facts

    def is_secret(self, text, name):
        return text == "${" + name + "}"

    def describe_secret(self, name):
        return "${" + name + "}"

    def plain(self, text):
        """Compose writes a literal dollar as two."""
        return text.replace("$$", "$")


class Running:
    """Text as a process sees it: secrets are values whose shape is known, project facts are not."""

    def __init__(self, secrets):
        self.secrets = secrets
        self.facts = {}

    def is_secret(self, text, name):
        return re.fullmatch(self.secrets[name]["pattern"], text) is not None

    def describe_secret(self, name):
        return f"a value of {name} (pattern {self.secrets[name]['pattern']})"

    def plain(self, text):
        return text


def expectation(rule, view):
    """The rule in words, for the `expected` part of a message."""
    if "value" in rule:
        return " or ".join(repr(value) for value in (rule["value"], *rule.get("also", [])))
    if "secret" in rule:
        return view.describe_secret(rule["secret"])
    if "fact" in rule and rule["fact"] in view.facts:
        return repr(view.facts[rule["fact"]] + rule.get("suffix", ""))
    if "one_of" in rule:
        return "one of " + ", ".join(repr(item) for item in rule["one_of"])
    if "url" in rule:
        url = rule["url"]
        login = f"{url['user']}:{view.describe_secret(url['password'])}@" if "user" in url else ""
        port = f":{url['port']}" if "port" in url else ""
        return f"{'|'.join(url['schemes'])}://{login}{url['host']}{port}{url.get('path', '')}"
    if "min" in rule or "max" in rule:
        return f"a whole number from {rule.get('min', '-inf')} to {rule.get('max', 'inf')}"
    if "pattern" in rule:
        return f"text matching {rule['pattern']}"
    return "any text"


def fits(rule, text, view):
    """True when `text` satisfies the rule."""
    if "secret" in rule:
        return view.is_secret(text, rule["secret"])
    if "url" in rule:
        return _url_fits(rule["url"], text, view)
    text = view.plain(text)
    if "value" in rule:
        return text in (rule["value"], *rule.get("also", []))
    if "one_of" in rule:
        return text in rule["one_of"]
    if "fact" in rule and rule["fact"] in view.facts:
        return text == view.facts[rule["fact"]] + rule.get("suffix", "")
    if "min" in rule or "max" in rule:
        if re.fullmatch(r"-?[0-9]{1,12}", text) is None:
            return False
        return rule.get("min", -(10**12)) <= int(text) <= rule.get("max", 10**12)
    if "pattern" in rule:
        return re.fullmatch(rule["pattern"], text) is not None
    return True


def _url_fits(rule, text, view):
    """A database or service address: every part is compared by itself.

    The password is cut out before the URL is parsed: as a reference it holds `$`, `{` and `}`.
    """
    match = re.fullmatch(r"(?P<scheme>[a-z]+)://(?:(?P<user>[^:@/]+):(?P<password>[^@]*)@)?(?P<rest>.*)", text)
    if match is None or match["scheme"] not in rule["schemes"]:
        return False
    if match["user"] != rule.get("user"):
        return False
    if "password" in rule and not view.is_secret(match["password"] or "", rule["password"]):
        return False
    try:
        parts = urlsplit(f"x://{match['rest']}")
        port = parts.port
    except ValueError:
        return False
    if parts.hostname != rule["host"] or port != rule.get("port"):
        return False
    if parts.path not in (rule.get("path", ""), *rule.get("also_paths", [])):
        return False
    allowed = rule.get("query", {})
    return all(allowed.get(key) == value for key, value in parse_qsl(parts.query, keep_blank_values=True))


def environment(contract, found, view, strict_names):
    """Violations of one service's environment, as (key, expected, found) rows.

    `strict_names` also refuses a name the contract does not know: in a rendered file such a name is a typing
    error, in a running container it is PATH or HOSTNAME.
    """
    rows = []
    for name, rule in contract["env"].items():
        when = rule.get("when")
        if when and found.get(when["name"]) != when["value"]:
            if name in found:
                rows.append((f"environment.{name}", f"not set unless {when['name']} is {when['value']!r}", "set"))
        elif name not in found:
            if not rule.get("optional"):
                rows.append((f"environment.{name}", expectation(rule, view), "nothing"))
        elif rule.get("absent"):
            rows.append((f"environment.{name}", "not set: " + rule["why"], "set"))
        elif (
            "when_empty" in rule
            and found.get(rule["when_empty"]["name"]) == ""
            and found[name] != rule["when_empty"]["value"]
        ):
            rows.append(
                (
                    f"environment.{name}",
                    f"{rule['when_empty']['value']!r} while {rule['when_empty']['name']} is empty",
                    repr(found[name]),
                )
            )
        elif not fits(rule, found[name], view):
            rows.append((f"environment.{name}", expectation(rule, view), shown(found[name], rule)))
    if strict_names:
        for name in found:
            if name not in contract["env"]:
                rows.append((f"environment.{name}", "a name of this image's contract", repr(found[name])))
    return rows


def shown(text, rule):
    """A found value for a message. Never the value of a secret: messages end in logs."""
    hides = "secret" in rule or ("url" in rule and "password" in rule["url"])
    if hides and REFERENCE.search(text) is None:
        return f"something else ({len(text)} characters)"
    return repr(text)
