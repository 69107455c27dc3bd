"""docker-compose.yml: the ten services, each against its contract file."""

import re

from contractlib import load, rules

from .folder import Violation, facts

FILE = "docker-compose.yml"
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")
_KEYS = {
    "image",
    "container_name",
    "hostname",
    "command",
    "entrypoint",
    "environment",
    "ports",
    "volumes",
    "networks",
    "depends_on",
    "healthcheck",
    "restart",
    "labels",
    "logging",
    "ulimits",
    "user",
    "stop_grace_period",
    "stop_signal",
    "init",
    "pids_limit",
}


def seconds(text):
    """A Compose duration, or None."""
    match = _DURATION.fullmatch(str(text))
    if not match or not any(match.groups()):
        return None
    hours, minutes, whole, milli = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + whole + milli / 1000


def check(stack, common, contracts, images=None):
    """All violations of the services part. `images` is the image set to compare with, if one was named."""
    found = stack.compose.get("services") or {}
    rows = []
    images = images if images is not None else _likely_set(found)
    for name in common["services"]:
        if name not in found:
            rows.append(Violation(FILE, name, "services", "this service", "nothing"))
    for name, service in found.items():
        if name not in contracts:
            rows.append(
                Violation(
                    FILE, name, "services", "one of " + ", ".join(common["services"]), "a service without a contract"
                )
            )
            continue
        one = _Service(name, service if isinstance(service, dict) else {}, contracts[name], common, stack)
        rows += one.violations(images)
    return rows


class _Service:
    def __init__(self, name, found, contract, common, stack):
        self.name, self.found, self.contract, self.common = name, found, contract, common
        self.container = contract["container"]
        self.facts = {**facts(stack), "service": name, "kong_plugins": _plugins_in_use(stack)}
        if self.facts["kong_plugins"] is None:
            del self.facts["kong_plugins"]
        self.rows = []

    def bad(self, key, expected, found):
        self.rows.append(Violation(FILE, self.name, key, expected, found))

    def violations(self, images):
        for key in self.found:
            if key not in _KEYS:
                self.bad(key, "a key that the daemon accepts", "this key")
        self._image(images)
        self._identity()
        self._process()
        self._environment()
        self._volumes()
        self._network()
        self._ports()
        self._order()
        self._health()
        self._logging()
        self._limits()
        return self.rows

    def _image(self, images):
        image = self.found.get("image")
        if not isinstance(image, str) or not re.fullmatch(
            r"[a-z0-9./_-]+(:[0-9]+/[a-z0-9./_-]+)?(:[A-Za-z0-9._-]+)?(@sha256:[0-9a-f]{64})?", image
        ):
            self.bad("image", "an image reference", repr(image))
        elif images is not None and image != images.get(self.name):
            self.bad("image", repr(images.get(self.name)), repr(image))
        elif images is None and ":" not in image.rsplit("/", 1)[-1]:
            self.bad("image", "a reference with a tag or digest", repr(image))

    def _identity(self):
        project = self.common["project"]
        wanted = project["container_name"].format(ref=self.facts["ref"], service=self.name)
        if self.found.get("container_name") != wanted:
            self.bad("container_name", repr(wanted), repr(self.found.get("container_name")))
        labels = self.found.get("labels")
        labels = labels if isinstance(labels, dict) else {}
        for label, value in self.common["labels"].items():
            wanted = value.format(ref=self.facts["ref"], service=self.name)
            if labels.get(label) != wanted:
                self.bad(f"labels.{label}", repr(wanted), repr(labels.get(label)))
        if self.found.get("restart") != self.common["restart"]["value"]:
            self.bad("restart", repr(self.common["restart"]["value"]), repr(self.found.get("restart")))

    def _process(self):
        command = self.found.get("command") or []
        allowed = [self.container.get("command", []), *self.container.get("also_commands", [])]
        if command not in allowed:
            self.bad("command", " or ".join(repr(item) for item in allowed), repr(command))
        if self.found.get("entrypoint") not in (None, []):
            self.bad("entrypoint", "the image's own", repr(self.found["entrypoint"]))
        user = str(self.found.get("user", ""))
        if not any(re.fullmatch(pattern, user) for pattern in self.container.get("user", [""])):
            self.bad("user", " or ".join(repr(item) for item in self.container.get("user", [""])), repr(user))
        signal = self.found.get("stop_signal", "")
        if signal not in self.container.get("stop_signal", [""]):
            self.bad(
                "stop_signal", " or ".join(repr(item) for item in self.container.get("stop_signal", [""])), repr(signal)
            )
        grace, rule = seconds(self.found.get("stop_grace_period", "10s")), self.container["stop_grace_s"]
        if grace is None or not rule["min"] <= grace <= rule["max"]:
            self.bad(
                "stop_grace_period",
                f"{rule['min']}-{rule['max']} s",
                repr(self.found.get("stop_grace_period", "10s (the default)")),
            )
        if "hostname" in self.found and self.found["hostname"] != self.container.get("hostname"):
            self.bad("hostname", repr(self.container.get("hostname")), repr(self.found["hostname"]))

    def _environment(self):
        environment = self.found.get("environment") or {}
        if not isinstance(environment, dict):
            return self.bad("environment", "a map", type(environment).__name__)
        for name, value in environment.items():
            if not isinstance(value, str):
                self.bad(
                    f"environment.{name}", "text (YAML reads a bare off, true or number as something else)", repr(value)
                )
        texts = {name: value for name, value in environment.items() if isinstance(value, str)}
        for key, expected, found in rules.environment(
            self.contract, texts, rules.Rendered(self.facts), strict_names=True
        ):
            if key.removeprefix("environment.") in environment and found == "nothing":
                continue
            self.bad(key, expected, found)

    def _volumes(self):
        found = {}
        for text in self.found.get("volumes") or []:
            parts = str(text).split(":")
            if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in ("ro", "rw")):
                self.bad("volumes", "SOURCE:TARGET[:ro]", repr(text))
                continue
            if parts[1] in found:
                self.bad(f"volumes.{parts[1]}", "one mount", "two")
            found[parts[1]] = (parts[0], parts[2] if len(parts) == 3 else "rw")
        wanted = {mount["target"]: mount for mount in self.contract.get("mount", [])}
        for target, mount in wanted.items():
            if target not in found:
                self.bad(f"volumes.{target}", f"{mount['source']} ({mount['mode']})", "nothing")
            elif found[target] != (mount["source"], mount["mode"]):
                self.bad(f"volumes.{target}", f"{mount['source']} ({mount['mode']})", "{} ({})".format(*found[target]))
        for target in found:
            if target not in wanted:
                self.bad(f"volumes.{target}", "a mount of this image's contract", found[target][0])

    def _network(self):
        networks = self.found.get("networks")
        if not isinstance(networks, dict) or set(networks) != {"default"}:
            return self.bad("networks", "default only, with aliases", repr(networks))
        default = networks["default"] or {}
        aliases = default.get("aliases") or []
        for alias in self.container["aliases"]:
            if alias not in aliases:
                self.bad("networks.default.aliases", repr(alias), repr(aliases))
        for alias in aliases:
            if alias not in self.container["aliases"]:
                self.bad("networks.default.aliases", "only " + ", ".join(self.container["aliases"]), repr(alias))
        fixed = self.container.get("fixed_address", False)
        if fixed != ("ipv4_address" in default):
            self.bad(
                "networks.default.ipv4_address",
                "a fixed address" if fixed else "none",
                repr(default.get("ipv4_address")),
            )

    def _ports(self):
        wanted = sorted(self.container.get("ports", {}).values())
        found = []
        for text in self.found.get("ports") or []:
            match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]):(\d{1,5}):(\d{1,5})", str(text))
            if not match or not 1024 <= int(match[2]) <= 65535:
                self.bad("ports", "ADDRESS:PORT:CONTAINER_PORT", repr(text))
            else:
                found.append(int(match[3]))
        if sorted(found) != wanted:
            self.bad("ports", f"container ports {wanted}", f"{sorted(found)}")

    def _order(self):
        after = self.found.get("depends_on") or {}
        if not isinstance(after, dict):
            return self.bad("depends_on", "a map with conditions", repr(after))
        found = {}
        for name, how in after.items():
            condition = (how or {}).get("condition", "") if isinstance(how, dict) else ""
            found[name] = {"service_healthy": "healthy", "service_started": "started"}.get(condition)
            if found[name] is None or set(how) - {"condition"}:
                self.bad(f"depends_on.{name}", "condition: service_healthy or service_started", repr(how))
        rule = self.contract.get("after", {})
        allowed = {}
        for item in rule.get("required", []):
            name, until = item.split(":")
            allowed[name] = until
            if name not in found:
                self.bad(f"depends_on.{name}", until if until != "*" else "started or healthy", "nothing")
        for item in rule.get("optional", []):
            name, until = item.split(":")
            allowed[name] = until
        for name, until in found.items():
            if name not in allowed:
                self.bad(f"depends_on.{name}", "no such dependency", until or "an unknown condition")
            elif until is not None and allowed[name] not in ("*", until):
                self.bad(f"depends_on.{name}", allowed[name], until)
            elif until == "healthy" and name == "rest":
                self.bad(f"depends_on.{name}", "started: this image cannot have a health check", until)

    def _health(self):
        check, rule = self.found.get("healthcheck"), self.contract["health"]
        if rule.get("none"):
            if check not in (None, {"disable": True}, {"test": ["NONE"]}):
                self.bad("healthcheck", "none: the image has no program that could check", "one")
            return
        if not isinstance(check, dict):
            return self.bad("healthcheck", "a check", "nothing")
        for key in check:
            if key not in ("test", "interval", "timeout", "retries", "start_period"):
                self.bad(f"healthcheck.{key}", "a key that every engine knows", "this key")
        test = check.get("test")
        if not isinstance(test, list) or not any(
            _form_fits(form, [str(item) for item in test]) for form in rule["forms"]
        ):
            self.bad("healthcheck.test", " or ".join(" ".join(form) for form in rule["forms"]), repr(test))
        for key, bounds in (("interval", "interval_s"), ("timeout", "timeout_s"), ("start_period", "start_period_s")):
            value, (low, high) = seconds(check.get(key, "")), rule[bounds]
            if value is None or not low <= value <= high:
                self.bad(f"healthcheck.{key}", f"{low}-{high} s", repr(check.get(key)))
        low, high = rule["retries"]
        retries = check.get("retries")
        if not isinstance(retries, int) or not low <= retries <= high:
            self.bad("healthcheck.retries", f"{low}-{high}", repr(retries))

    def _logging(self):
        logging = self.found.get("logging")
        if not isinstance(logging, dict):
            return self.bad("logging", "a driver with limits", repr(logging))
        options = logging.get("options") or {}
        own = self.container.get("logging")
        if own is not None:
            if logging.get("driver") not in own["drivers"]:
                self.bad("logging.driver", " or ".join(own["drivers"]), repr(logging.get("driver")))
            required, also = {name: {"pattern": pattern} for name, pattern in own["options"].items()}, {}
        else:
            if logging.get("driver") != self.common["logging"]["driver"]:
                self.bad("logging.driver", repr(self.common["logging"]["driver"]), repr(logging.get("driver")))
            required, also = self.common["logging"]["options"], self.common["logging"]["also"]
        view = rules.Rendered(self.facts)
        for name, rule in required.items():
            if name not in options:
                self.bad(f"logging.options.{name}", rules.expectation(rule, view), "nothing")
        for name, value in options.items():
            rule = required.get(name) or also.get(name)
            if rule is None:
                self.bad(f"logging.options.{name}", "an option of the contract", repr(value))
            elif not isinstance(value, str) or not rules.fits(rule, value, view):
                self.bad(f"logging.options.{name}", rules.expectation(rule, view) + " as text", repr(value))

    def _limits(self):
        pids, rule = self.found.get("pids_limit"), self.common["pids_limit"]
        if not isinstance(pids, int) or not rule["min"] <= pids <= rule["max"]:
            self.bad("pids_limit", f"{rule['min']}-{rule['max']}", repr(pids))
        nofile = (self.found.get("ulimits") or {}).get("nofile")
        rule = self.container.get("nofile")
        if rule is None:
            return
        values = [nofile.get("soft"), nofile.get("hard")] if isinstance(nofile, dict) else [nofile, nofile]
        for value in values:
            if not isinstance(value, int) or not rule["min"] <= value <= rule["max"]:
                return self.bad("ulimits.nofile", f"{rule['min']}-{rule['max']} (soft and hard)", repr(nofile))


def _likely_set(services):
    """The image set that most services use; None when no set is used at all (an operator's own images)."""
    used = {name: service.get("image") for name, service in services.items() if isinstance(service, dict)}
    best = max(
        load.image_sets(),
        key=lambda images: sum(used.get(name) == image for name, image in images.items()),
        default=None,
    )
    if best is None or not any(used.get(name) == image for name, image in best.items()):
        return None
    return best


def _form_fits(form, test):
    """A health check word by word; a pattern that also fits nothing stands for an optional word."""
    if not form:
        return not test
    head, rest = form[0], form[1:]
    if test and re.fullmatch(head, test[0]) and _form_fits(rest, test[1:]):
        return True
    return re.fullmatch(head, "") is not None and _form_fits(rest, test)


def _plugins_in_use(stack):
    """KONG_PLUGINS as it should be: the base set, and whatever else the file uses."""
    if stack.kong is None:
        return None
    base = ["request-transformer", "cors", "key-auth", "acl", "basic-auth"]
    used = {
        plugin.get("name")
        for service in stack.kong.get("services") or []
        if isinstance(service, dict)
        for plugin in service.get("plugins") or []
        if isinstance(plugin, dict)
    }
    return ",".join(base + sorted(str(name) for name in used - set(base)))
