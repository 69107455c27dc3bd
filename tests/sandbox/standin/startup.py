"""What every stand-in does before it serves: the switch for faults, then the contract of its image.

A stand-in that started in spite of a wrong variable would make a broken template look healthy, which is the one
thing these images exist to prevent. So a violation ends the process with one line on standard error.
"""

import ipaddress
import os
import resource
import signal
import socket
import sys
import threading
import time

from contractlib import load, rules

# The engine registers aliases just before the process starts; a loaded machine has been late by a few 100 ms.
_ALIAS_DEADLINE_S = 6
FIXED_HOST = 30


def refuse(service, message):
    """Ends the process with the one line that a person needs."""
    print(f"sandbox {service}: refuses to start: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def stop_on_signals():
    """Ends at once on the signals an engine sends; PID 1 has no default action for them.

    A plain handler would wait for the main thread, which may sit in a database driver for seconds; the wake-up
    descriptor is written to at once, and a thread of its own acts on it.
    """
    if getattr(stop_on_signals, "done", False):
        return
    stop_on_signals.done = True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=lambda: (os.read(reader, 1), os._exit(0)), daemon=True).start()


def begin(service, fault=True):
    """Contract, then the fault switch (a service of several programs obeys it in the last one)."""
    stop_on_signals()
    contract = load.read(service)
    check(service, contract)
    if fault:
        obey_fault(service)
    return contract


def obey_fault(service):
    """SANDBOX_FAULT, set by the image tags `<service>-crash`, `-unhealthy` and `-slow` (images.toml)."""
    fault = os.environ.get("SANDBOX_FAULT", "")
    if fault == "":
        return
    if fault == "crash":
        print(f"sandbox {service}: SANDBOX_FAULT=crash: ends on purpose", file=sys.stderr, flush=True)
        sys.exit(1)
    if fault == "unhealthy":
        print(f"sandbox {service}: SANDBOX_FAULT=unhealthy: runs and never answers", file=sys.stderr, flush=True)
        threading.Event().wait()
    kind, _, seconds = fault.partition(":")
    if kind == "slow" and seconds.isdigit():
        print(f"sandbox {service}: SANDBOX_FAULT={fault}: waits {seconds} s", file=sys.stderr, flush=True)
        time.sleep(int(seconds))
        return
    refuse(service, f"environment.SANDBOX_FAULT: expected crash, unhealthy or slow:SECONDS, found {fault!r}")


def check(service, contract):
    """Refuses at the first kind of violation found; the count tells how many more there are."""
    view = rules.Running(load.read("secrets"))
    rows = rules.environment(contract, os.environ, view, strict_names=False)
    rows += _mounts(contract)
    rows += _user(contract["container"])
    rows += _limits(contract["container"])
    if not rows:
        rows = _names(contract["container"])
    if rows:
        key, expected, found = rows[0]
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        refuse(service, f"{key}: expected {expected}, found {found}{more} [contract/{service}.toml]")


def mounted():
    """Mount point -> "ro" or "rw" of this container."""
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        rows = [line.split() for line in lines]
    return {row[4]: ("ro" if "ro" in row[5].split(",") else "rw") for row in rows}


def _mounts(contract):
    found = mounted()
    rows = []
    for mount in contract.get("mount", []):
        target = mount["target"]
        kind = "file" if mount["kind"] == "file" else "folder"
        if target not in found:
            rows.append((f"volumes.{target}", f"a mounted {kind}", "nothing mounted"))
        elif kind == "file" and not os.path.isfile(target):
            rows.append((f"volumes.{target}", "a mounted file", "a folder (its source was missing)"))
        elif kind == "folder" and not os.path.isdir(target):
            rows.append((f"volumes.{target}", "a mounted folder", "a file"))
        elif mount["mode"] == "rw" and found[target] == "ro":
            rows.append((f"volumes.{target}", "writable", "read-only"))
        elif kind == "file" and not os.access(target, os.R_OK):
            rows.append((f"volumes.{target}", f"readable by uid {os.getuid()}", "not readable"))
    return rows


def _user(container):
    if container.get("runs_as") == "not root" and os.getuid() == 0:
        return [("user", "not root", "root")]
    return []


def _limits(container):
    rule = container.get("nofile")
    if rule is None:
        return []
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > rule["max"]:
        return [("ulimits.nofile", f"at most {rule['max']}", str(hard))]
    if hard < rule["min"]:
        return [("ulimits.nofile", f"at least {rule['min']}", str(hard))]
    return []


def own_address():
    """This container's address on the project's network (no packet is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("10.255.255.254", 9))
        return probe.getsockname()[0]


def _names(container):
    """Each alias must lead to this container, and the fixed address must be the one that others were told."""
    try:
        own = own_address()
    except OSError:
        return [("networks", "a network", "none")]
    deadline = time.monotonic() + _ALIAS_DEADLINE_S
    for alias in container["aliases"]:
        while True:
            found = _addresses(alias)
            if own in found:
                break
            if time.monotonic() > deadline:
                seen = ", ".join(sorted(found)) or "nothing"
                return [(f"networks.aliases.{alias}", f"this container ({own})", seen)]
            time.sleep(0.2)
    if container.get("fixed_address") and int(ipaddress.ip_address(own)) % 32 != FIXED_HOST:
        return [("networks.ipv4_address", f"host {FIXED_HOST} of the project's /27", own)]
    return []


def _addresses(name):
    try:
        return {row[4][0] for row in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)}
    except OSError:
        return set()
