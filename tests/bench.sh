#!/bin/sh
# `make bench`: everything that is measured, in one run on one engine. Tables on the terminal and in
# target/bench/report.txt, the spans behind them beside it. `tests/bench.sh --help` lists what can be chosen.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
case " $* " in
    *" --help "* | *" -h "*) ;;
    # It has an engine of its own, in memory.
    " fleet "*) sh tests/setup/packages.sh python3 python3-yaml ;;
    *)
        sh tests/setup/packages.sh python3 python3-yaml postgresql-client
        sh tests/setup/engine.sh start
        ;;
esac
exec python3 -B tests/bench/run.py "$@"
