"""Imgproxy: health, and files of the storage folder as they are (it transforms nothing)."""

import os
import time

from . import startup, web


def log(level, message):
    print(f"{level} [{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}] {message}", flush=True)


def answer(request):
    if request.path == "/health":
        return web.Answer(200, "imgproxy is running", {"Content-Type": "text/plain"})
    _, found, source = request.path.partition("/plain/local://")
    path = os.path.realpath(os.environ["IMGPROXY_LOCAL_FILESYSTEM_ROOT"] + source)
    if not found or not path.startswith("/var/lib/storage/") or not os.path.isfile(path):
        log("WARN", f"404 {request.path}")
        return web.Answer(404, "Invalid URL", {"Content-Type": "text/plain"})
    with open(path, "rb") as file:
        return web.Answer(200, file.read(), {"Content-Type": "application/octet-stream"})


def main():
    startup.begin("imgproxy")
    host, _, port = os.environ["IMGPROXY_BIND"].rpartition(":")
    log("INFO", f"Starting server at {os.environ['IMGPROXY_BIND']}")
    web.serve(answer, int(port), host or "0.0.0.0")
