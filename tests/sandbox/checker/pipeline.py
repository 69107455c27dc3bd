"""vector.yml against vector-pipeline.toml (stack-facts 7, decision 14)."""

import re

from .folder import Violation, resolved

FILE = "vector.yml"


def check(stack, contract):
    vector, rows = stack.vector, []

    def bad(key, expected, found, service=""):
        rows.append(Violation(FILE, service, key, expected, found if isinstance(found, str) else repr(found)))

    for key in vector:
        if key not in ("api", "sources", "transforms", "sinks", "data_dir"):
            bad(key, "api, sources, transforms or sinks", "this key")
    api = vector.get("api") or {}
    for key, value in contract["api"].items():
        if api.get(key) != value or type(api.get(key)) is not type(value):
            bad(f"api.{key}", repr(value), api.get(key))
    source = _source(vector, contract, bad)
    _no_references(vector, bad)
    if source is not None:
        _Graph(stack, contract, source, bad).check()
    return rows


def _source(vector, contract, bad):
    sources = vector.get("sources")
    if not isinstance(sources, dict) or len(sources) != 1:
        bad("sources", "one source", sources)
        return None
    name, source = next(iter(sources.items()))
    source = source if isinstance(source, dict) else {}
    kind = source.get("type")
    if kind in contract["forbidden_sources"]:
        bad(f"sources.{name}.type", f"not {kind}: {contract['forbidden_sources'][kind]}", kind)
    for key, value in contract["source"].items():
        if source.get(key) != value:
            bad(f"sources.{name}.{key}", repr(value), source.get(key))
    return name


def _no_references(node, bad, path=""):
    """Vector replaces `$NAME` in its own file, and a `$` before a digit or brace ends its start."""
    if isinstance(node, dict):
        for key, value in node.items():
            _no_references(value, bad, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for value in node:
            _no_references(value, bad, path)
    elif isinstance(node, str) and re.search(r"\$(?!\{[A-Z_]+\})", node):
        bad(path, "no dollar sign", "one")


class _Graph:
    """Follows the pipeline from the source to the sinks, service by service."""

    def __init__(self, stack, contract, source, bad):
        self.stack, self.contract, self.source, self.bad = stack, contract, source, bad
        self.transforms = {
            name: part for name, part in (stack.vector.get("transforms") or {}).items() if isinstance(part, dict)
        }
        self.sinks = {name: part for name, part in (stack.vector.get("sinks") or {}).items() if isinstance(part, dict)}

    def readers(self, name):
        """(transforms, sinks) that name this output as an input."""
        reads = lambda part: name in (part.get("inputs") or [])  # noqa: E731
        return (
            {key: part for key, part in self.transforms.items() if reads(part)},
            {key: part for key, part in self.sinks.items() if reads(part)},
        )

    def check(self):
        known = {self.source, *self.transforms}
        for name, part in {**self.transforms, **self.sinks}.items():
            for source in part.get("inputs") or []:
                head, _, branch = str(source).partition(".")
                if head not in known or (branch and branch not in (self.transforms.get(head, {}).get("route") or {})):
                    self.bad(f"{name}.inputs", "a source, a transform or a branch of a route", repr(source))
            if not part.get("inputs"):
                self.bad(f"{name}.inputs", "at least one", repr(part.get("inputs")))
        router = self._router()
        if router is None:
            return
        for service in self.contract["route"]["services"]:
            self._service(router, service)
        for branch in self.transforms[router].get("route") or {}:
            if branch not in self.contract["route"]["services"]:
                self.bad(f"transforms.{router}.route.{branch}", "a service that has a source in analytics", branch)

    def _router(self):
        """The route transform behind the source, and what every event passes on the way to it."""
        waiting, seen, programs = [self.source], set(), ""
        while waiting:
            name = waiting.pop()
            transforms, sinks = self.readers(name)
            for sink in sinks:
                self.bad(f"sinks.{sink}.inputs", "events behind the router", name)
            for key, part in transforms.items():
                if part.get("type") == "route":
                    for pattern in self.contract["common"]["remap"]:
                        if re.search(pattern, programs) is None:
                            self.bad("transforms", f"a program before the router with {pattern}", "none")
                    return key
                if key not in seen:
                    seen.add(key)
                    programs += self._program(key, part)
                    waiting.append(key)
        self.bad("transforms", "a route transform behind the source", "none")
        return None

    def _program(self, name, part):
        if part.get("type") != "remap" or not isinstance(part.get("source"), str):
            self.bad(f"transforms.{name}", "type remap with a source", repr(part.get("type")))
            return ""
        depth = 0
        for line in part["source"].splitlines():
            line = line.strip()
            if not any(re.fullmatch(form, line) for form in self.contract["program"]["lines"]):
                self.bad(f"transforms.{name}.source", "a line of a known form", repr(line))
            depth += line.endswith("{") - line.startswith("}")
        if depth != 0:
            self.bad(f"transforms.{name}.source", "as many closing as opening braces", f"{depth} open")
        return part["source"] + "\n"

    def _service(self, router, service):
        rule = self.contract["services"][service]
        wanted = self.contract["route"]["condition"].format(service=service)
        found = (self.transforms[router].get("route") or {}).get(service)
        if not isinstance(found, str) or re.fullmatch(wanted, found.strip()) is None:
            self.bad(f"transforms.{router}.route.{service}", f"text matching {wanted}", repr(found), service)
        transforms, direct = self.readers(f"{router}.{service}")
        if direct:
            self.bad(
                f"sinks.{next(iter(direct))}.inputs",
                "events behind the service's program",
                f"{router}.{service}",
                service,
            )
        if len(transforms) != rule.get("programs", 1):
            self.bad(
                "transforms",
                f"{rule.get('programs', 1)} program(s) behind {router}.{service}",
                str(len(transforms)),
                service,
            )
        text = "".join(self._program(name, part) for name, part in transforms.items())
        for pattern in rule["remap"]:
            if len(re.findall(pattern, text)) == 0:
                self.bad("transforms", f"a program with {pattern}", "none", service)
        sinks = {}
        for name in transforms:
            behind = self.readers(name)[1]
            if len(behind) != 1:
                self.bad(f"transforms.{name}", "one sink behind it", str(len(behind)), service)
            sinks.update(behind)
        for name, sink in sinks.items():
            self._sink(name, sink, rule, service)

    def _sink(self, name, sink, rule, service):
        wanted = self.contract["sink"]
        rows = [
            ("type", sink.get("type"), wanted["type"]),
            ("method", sink.get("method"), wanted["method"]),
            ("encoding.codec", (sink.get("encoding") or {}).get("codec"), wanted["codec"]),
            (
                "request.retry_max_duration_secs",
                (sink.get("request") or {}).get("retry_max_duration_secs"),
                wanted["retry_max_duration_secs"],
            ),
        ]
        key = (self.stack.env or {}).get(wanted["key"], "${" + wanted["key"] + "}")
        uri = wanted["uri"].format(source=rule["source_name"], key=key)
        self._buffer(name, sink.get("buffer") or {}, wanted["buffer"], service)
        for field, found, value in rows:
            if found != value:
                self.bad(f"sinks.{name}.{field}", repr(value), repr(found), service)
        if resolved(str(sink.get("uri")), self.stack.env) != uri:
            shown = wanted["uri"].format(source=rule["source_name"], key="${" + wanted["key"] + "}")
            self.bad(f"sinks.{name}.uri", repr(shown), "another address, source or key", service)

    def _buffer(self, name, found, wanted, service):
        low, high = wanted["max_events"]
        events = found.get("max_events")
        if not isinstance(events, int) or not low <= events <= high:
            self.bad(f"sinks.{name}.buffer.max_events", f"{low}-{high}", repr(events), service)
        for key in ("type", "when_full"):
            if found.get(key) != wanted[key]:
                self.bad(f"sinks.{name}.buffer.{key}", repr(wanted[key]), repr(found.get(key)), service)
