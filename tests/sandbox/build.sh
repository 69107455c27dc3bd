#!/bin/sh
# Builds the sandbox images (`make sandbox`). A second run with unchanged sources says "up to date" in a second.
#
# usage: build.sh [--force]
set -eu

here=$(cd "$(dirname "$0")" && pwd)

python3 -c 'import tomllib' 2>/dev/null || {
    echo "build.sh: needs python3 of version 3.11 or newer (Debian 12 has it)" >&2
    exit 3
}
"$here/../setup/engine.sh" >/dev/null
exec python3 "$here/build.py" "$@"
