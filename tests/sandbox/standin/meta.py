"""Checks the contract of meta, then becomes the real postgres-meta.

The service itself is the npm package, run by node; only the refusal of a wrong environment is ours.
"""

import os

from . import startup

ARGV = ["node", "node_modules/@supabase/postgres-meta/dist/server/server.js"]


def main(*arguments):
    if arguments != ("run", "start"):
        startup.refuse("meta", f"command: expected npm run start, found npm {' '.join(arguments)}")
    startup.begin("meta")
    os.chdir("/usr/src/app")
    # The package imports JSON with a keyword that node 20 warns about on every start.
    os.execvpe("node", [ARGV[0], "--no-warnings", "--require", "/sandbox/standin/meta-stop.cjs", *ARGV[1:]], os.environ)
