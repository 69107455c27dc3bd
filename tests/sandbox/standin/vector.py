"""Vector: reads its own file, takes the fluentd forward protocol, routes by tag, posts to analytics.

It does not interpret the remap programs: events pass through them unchanged, apart from the names that every event
gets and from one rule, that a program which aborts on nginx lines of the other kind drops them. The routes, inputs and
sinks are followed as the file says, so a wrong graph loses events here too.
"""

import collections
import json
import os
import re
import socketserver
import sys
import threading
import time
import urllib.error
import urllib.request

import msgpack
import yaml

from . import startup, web

KEPT = 500
# A sink sends what it has twice a second, at most this many events at once; the rest waits up to the queue's size.
_BATCH = 500
_QUEUE = 5000
_ROUTE = re.compile(r'\.tag == "([a-z]+)"')
_NGINX = re.compile(r'parse_nginx_log!?\(\.event_message, "(combined|error)"\)')
_LINES = {
    "combined": re.compile(r'\S+ \S+ \S+ \[[^]]+\] "[^"]*" \d+ \d+ '),
    "error": re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] "),
}


def log(level, message):
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {level} vector: {message}", flush=True)


class Pipeline:
    """The graph of the file: which sinks an event of a tag reaches."""

    def __init__(self, config):
        self.config = config
        self.sinks = {name: Sink(name, sink) for name, sink in config.get("sinks", {}).items()}
        self.readers = collections.defaultdict(list)
        parts = {**config.get("transforms", {}), **config.get("sinks", {})}
        known = set(config.get("sources", {})) | set(config.get("transforms", {}))
        for name, part in parts.items():
            for source in part.get("inputs") or []:
                if source.split(".")[0] not in known:
                    startup.refuse(
                        "vector", f"vector.yml: {name}.inputs: expected a source or transform, found {source!r}"
                    )
                self.readers[source].append(name)

    def reached(self, source, tag, text):
        """Sinks behind `source` for a line of this tag, following routes."""
        found, waiting, seen = [], [source], set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for reader in self.readers[name]:
                if reader in self.sinks:
                    found.append(self.sinks[reader])
                    continue
                program = str(self.config["transforms"][reader].get("source", ""))
                kind = _NGINX.search(program)
                if kind and "abort" in program and _LINES[kind[1]].match(text) is None:
                    continue
                waiting.append(reader)
                for branch, condition in self.config["transforms"][reader].get("route", {}).items():
                    match = _ROUTE.fullmatch(condition.strip())
                    if match and match[1] == tag:
                        waiting.append(f"{reader}.{branch}")
        return found


class Sink:
    """An http sink with its own queue and thread; drops the newest when full, as the file asks."""

    def __init__(self, name, config):
        if config.get("type") != "http" or "uri" not in config:
            startup.refuse("vector", f"vector.yml: sinks.{name}: expected type http with a uri")
        self.name, self.uri = name, config["uri"]
        self.retry_s = config.get("request", {}).get("retry_max_duration_secs", 10)
        self.queue = collections.deque()
        self.sent = 0
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, event):
        if len(self.queue) < _QUEUE:
            self.queue.append(event)

    def _run(self):
        while True:
            time.sleep(0.5)
            batch = []
            while self.queue and len(batch) < _BATCH:
                batch.append(self.queue.popleft())
            if batch:
                self._post(batch)

    def _post(self, batch):
        request = urllib.request.Request(self.uri, json.dumps(batch).encode(), {"Content-Type": "application/json"})
        wait_s = 0.5
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10):
                    self.sent += len(batch)
                    return
            except urllib.error.HTTPError as error:
                if error.code not in (408, 429) and error.code < 500:
                    log("ERROR", f"{self.name}: Events dropped: http status {error.code}")
                    return
                problem = f"http status {error.code}"
            except OSError as error:
                problem = str(error.reason if isinstance(error, urllib.error.URLError) else error)
            log("WARN", f"{self.name}: Retrying after error: {problem}")
            time.sleep(min(wait_s, self.retry_s))
            wait_s *= 2


class State:
    pipeline = None
    source = None
    kept = collections.deque(maxlen=KEPT)
    received = collections.Counter()


def take(tag, stamp, record):
    if not isinstance(record, dict):
        return
    seconds = stamp.to_unix() if isinstance(stamp, msgpack.Timestamp) else _seconds(stamp)
    event = {
        "tag": tag,
        "project": "default",
        "appname": record.get("container_name", ""),
        "event_message": record.get("log", ""),
        "metadata": {},
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z",
    }
    State.kept.append(event)
    State.received[tag] += 1
    for sink in State.pipeline.reached(State.source, tag, event["event_message"]):
        sink.put(event)


def _seconds(stamp):
    """Whole seconds, or the protocol's EventTime: type 0, seconds and nanoseconds, big-endian."""
    if isinstance(stamp, msgpack.ExtType) and stamp.code == 0 and len(stamp.data) == 8:
        return int.from_bytes(stamp.data[:4], "big") + int.from_bytes(stamp.data[4:], "big") / 1e9
    return float(stamp) if isinstance(stamp, (int, float)) else time.time()


class Forward(socketserver.BaseRequestHandler):
    """The forward protocol: message, forward and packed-forward modes, with acknowledgement when asked for."""

    def handle(self):
        unpacker = msgpack.Unpacker(raw=False, unicode_errors="replace", max_buffer_size=16 * 1024 * 1024)
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            unpacker.feed(data)
            for message in unpacker:
                self._message(message)

    def _message(self, message):
        if not isinstance(message, list) or len(message) < 2 or not isinstance(message[0], str):
            return
        tag, option = message[0], message[-1] if isinstance(message[-1], dict) and len(message) in (3, 4) else {}
        if isinstance(message[1], list):
            entries = message[1]
        elif isinstance(message[1], (bytes, str)):
            entries = msgpack.Unpacker(raw=False)
            entries.feed(message[1] if isinstance(message[1], bytes) else message[1].encode())
        else:
            entries, option = [message[1:3]], message[3] if len(message) > 3 and isinstance(message[3], dict) else {}
        for entry in entries:
            take(tag, entry[0], entry[1])
        if "chunk" in option:
            self.request.sendall(msgpack.packb({"ack": option["chunk"]}))


class Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def answer(request):
    if request.path == "/health":
        return web.Answer(200, {"ok": True})
    if request.path == "/sandbox/events":
        sinks = {name: sink.sent for name, sink in State.pipeline.sinks.items()}
        return web.Answer(200, {"received": State.received, "sent": sinks, "events": list(State.kept)})
    return web.Answer(404, "")


def read_config(arguments):
    """The file named by --config. Vector replaces variables in its own file, so a `$` must be a known one."""
    if len(arguments) < 2 or arguments[0] not in ("--config", "-c"):
        startup.refuse(
            "vector",
            f"command: expected --config FILE, found {' '.join(arguments) or 'nothing'}"
            " (the image's default file is another one)",
        )
    try:
        with open(arguments[1], encoding="utf-8") as file:
            text = file.read()
        for name in re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", text):
            if name not in os.environ:
                startup.refuse("vector", f"vector.yml: environment variable {name} is not set")
        config = yaml.safe_load(os.path.expandvars(text))
    except (OSError, yaml.YAMLError) as error:
        startup.refuse("vector", f"{arguments[1]}: {error}")
    if not isinstance(config, dict) or not config.get("sources") or not config.get("sinks"):
        startup.refuse("vector", "vector.yml: expected sources and sinks")
    return config


def main(*arguments):
    startup.begin("vector")
    config = read_config(arguments)
    fluent = [(name, source) for name, source in config["sources"].items() if source.get("type") == "fluent"]
    if len(fluent) != 1:
        startup.refuse("vector", "vector.yml: sources: expected one source of type fluent")
    State.source = fluent[0][0]
    State.pipeline = Pipeline(config)
    host, _, port = fluent[0][1].get("address", "").rpartition(":")
    listener = Listener((host, int(port)), Forward)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    api = config.get("api", {})
    if not api.get("enabled"):
        log("INFO", "Vector has started (API disabled)")
        threading.Event().wait()
    host, _, port = api.get("address", "127.0.0.1:8686").rpartition(":")
    log("INFO", f"Vector has started, API on {host}:{port}")
    sys.stdout.flush()
    web.serve(answer, int(port), host)
