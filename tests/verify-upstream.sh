#!/bin/sh
# `make verify-upstream`: for a machine with an image registry. Runs the engine suite on the design's ten pins and writes
# target/upstream/report.md. Where the pins cannot be pulled it says so in one line and ends with 3.
#
# usage: verify-upstream.sh [--image-set NAME]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
case " $* " in
    *" --help "* | *" -h "*) ;;
    *)
        sh tests/setup/packages.sh curl python3 python3-yaml postgresql-client busybox-static util-linux iproute2
        sh tests/setup/engine.sh start
        # The suite adds an eleventh service of its own, which no registry has.
        sh tests/sandbox/build.sh
        ;;
esac
exec python3 -B tests/upstream/run.py "$@"
