"""A service that no stack needs: shows that an eleventh one is reached, probed and given its secret."""

import os

from . import startup, web


def main():
    startup.stop_on_signals()
    startup.obey_fault("hello")
    port = int(os.environ.get("PORT", "8000"))
    # Only the names of variables: a value may be a secret.
    names = sorted(name for name in os.environ if name.startswith("HELLO_"))
    print(f"hello: listening on {port}", flush=True)
    web.serve(lambda request: web.Answer(200, {"service": "hello", "path": request.path, "variables": names}), port)
