#!/bin/sh
# Runs a command beside the second engine: in its network namespace, so that its containers' addresses and published
# ports are reachable, with DOCKER_HOST set to it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/engine26.sh" start >&2
host=$(sh "$here/engine26.sh" host)
pid=$(cat "$(dirname "${host#unix://}")/dockerd.pid")
exec nsenter --target "$pid" --net env DOCKER_HOST="$host" "$@"
