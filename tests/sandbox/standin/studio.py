"""Studio: a page, its profile, and proof that it reaches the database through meta and the project through the gateway."""

import json
import os
import urllib.error
import urllib.request

from . import startup, web

# Both answer at once on a healthy stack.
_TIMEOUT_S = 5


def status_of(url, headers=None):
    """The status of a GET, 0 when there is no answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=_TIMEOUT_S) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def reaches():
    """What the real one talks to, as statuses."""
    key = os.environ["SUPABASE_SERVICE_KEY"]
    return {
        "meta": status_of(os.environ["STUDIO_PG_META_URL"] + "/schemas"),
        "gateway": status_of(os.environ["SUPABASE_URL"] + "/rest/v1/", {"apikey": key}),
    }


def answer(request):
    if request.path == "/api/profile":
        return web.Answer(200, {"id": 1, "username": "johndoe"})
    if request.path == "/sandbox/reaches":
        return web.Answer(200, reaches())
    # Credentials that the gateway should have kept would show here.
    seen = {"login": "authorization" in request.headers, "project": os.environ["DEFAULT_PROJECT_NAME"]}
    return web.Answer(200, f"<title>Supabase</title><script>{json.dumps(seen)}</script>", {"Content-Type": "text/html"})


def main(*_):
    startup.begin("studio")
    print("Listening on port 3000", flush=True)
    web.serve(answer, 3000)
