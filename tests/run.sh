#!/bin/sh
# `make test`: every suite, then a table. A suite that fails does not stop the others, so that
# one run tells everything; a skipped test fails the run.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
out=target/test-output
rows=$out/rows
mkdir -p "$out"
: >"$rows"
# A test that fails says where; thirty frames of the runtime below it would push that out of what is printed.
export RUST_BACKTRACE=0
# For every `make` below, the demo's too: the features of the tests, or the daemon and some thirty crates are built twice.
export TARGETS="--bins --test=*"

sh tests/setup/packages.sh gcc libc6-dev clang curl lld openssl python3 python3-venv python3-yaml postgresql-client busybox-static util-linux iproute2
sh tests/setup/wasm.sh

# suite NAME COMMAND...: runs it, counts its tests, remembers how it ended.
suite() {
    name=$1
    shift
    log=$out/$name.log
    begun=$(date +%s)
    printf '\n== %s\n' "$name"
    if "$@" >"$log" 2>&1; then ended=ok; else ended=FAILED; fi
    seconds=$(($(date +%s) - begun))
    passed=$(sum 's/^test result: [^.]*\. \([0-9]*\) passed.*/\1/p' "$log")
    ignored=$(sum 's/^test result: .* \([0-9]*\) ignored;.*/\1/p' "$log")
    broken=$(sum 's/^test result: .* \([0-9]*\) failed;.*/\1/p' "$log")
    checks=$(sum 's/^checks: \([0-9]*\)$/\1/p' "$log")
    tests=$((passed + broken + checks))
    # A suite that only says yes or no is one test.
    [ "$tests" -gt 0 ] || tests=1
    printf '%s %s %s %s %s\n' "$name" "$tests" "$ignored" "$seconds" "$ended" >>"$rows"
    if [ "$ended" = ok ]; then echo "$name: ok, $tests tests in $seconds s"; else tail -n 120 "$log"; fi
}

sum() { sed -n "$1" "$2" | awk '{total += $1} END {print total + 0}'; }

# Every suite is compiled once, with one choice of features, and then run by name: `cargo test` would wait for the lints,
# which are another cargo's.
program() { sed -n "s#.*(\(target/.*/$1-[0-9a-f]*\))\$#$PWD/\1#p" "$out/programs"; }
it() { "$(program it)" -q "$@"; }
compiled() { make --no-print-directory plugins guests && "$cargo" test --locked --workspace --test='*' --no-run 2>"$out/programs"; }

# The same suites on PostgreSQL.
on_postgres() { (SUPAMANAGER_TEST_DATABASE_URL=$(sh tests/setup/postgres.sh url) && export SUPAMANAGER_TEST_DATABASE_URL && "$@"); }

# gently COMMAND...: with what the rest leaves of the processors. A session of its own, because Linux shares them out among
# sessions and control groups first (sched(7), autogroup): the nice value of a process says nothing to an engine's containers.
gently() { setsid --wait sh -c 'echo 19 2>/dev/null >/proc/self/autogroup; exec nice -n 19 "$@"' gently "$@"; }

# together LANE...: functions, side by side.
together() {
    lanes=
    for lane in "$@"; do
        "$lane" &
        lanes="$lanes $!"
    done
    for lane in $lanes; do wait "$lane" || echo "lane 1 0 0 FAILED" >>"$rows"; done
}

prepared() {
    suite engine sh tests/setup/engine.sh start
    suite sandbox sh tests/sandbox/build.sh
    suite postgres sh tests/setup/postgres.sh start
}

built() {
    suite format "$cargo" fmt --all --check
    suite build compiled
}

# Our own code without an optimiser, which these tests do not wait for: half the time to compile.
unit() {
    set -- env CARGO_PROFILE_TEST_OPT_LEVEL=0 "$cargo" test --locked -q --workspace --exclude supamanager-tests --lib
    gently "$@" --no-run && "$@"
}

# What computes. It gives way to what has containers and deadlines, but for what calls plugins, which have limits.
computing() {
    suite plugin-host env SUPAMANAGER_PLUGINS_DIR="$PWD/target/plugins" "$(program plugin_host)" -q
    suite fence "$(program fence)" -q
    suite fence-fuzz "$(program fence_fuzz)" -q
    suite tidy it tidy::
    suite design python3 tests/design/check.py
    suite bench-sums python3 -B -m unittest discover -s tests/bench
    suite report python3 -B -m unittest discover -s tests/upstream
    suite plugin-fixtures sh tests/fixtures.sh
    suite authors sh tests/authors.sh
    # Not sooner: the demo calls cargo too, and would wait.
    suite unit unit
    # The only crate with examples in its comments: asked for those of all, cargo compiles the daemon once more.
    suite examples gently "$cargo" test --locked -q -p supamanager-plugin --doc
    suite lints gently "$cargo" clippy --locked --workspace --all-targets -- -D warnings
    suite store "$(program store)" -q --skip postgres::
    suite store-postgres on_postgres "$(program store)" -q
    suite sim gently "$(program sim)" -q --test-threads=1 --nocapture
    suite sim-postgres on_postgres gently env SUPAMANAGER_TEST_SEEDS=100 "$(program sim)" -q seeds:: --nocapture
}

# What needs the engine: first what looks at all of it, then two at a time; more only get into each other's way. Every daemon
# has ports and a subnet of its own (tests/it/world/daemon.rs), whichever process it belongs to.
engine() {
    suite docker "$(program docker_backend)" -q --test-threads=4
    suite docker-26 sh tests/setup/on26.sh "$(program docker_backend)" -q --test-threads=4
    sh tests/setup/engine26.sh stop
    suite demo sh tests/demo/check.sh
    suite images it images:: --test-threads=2
    together projects waiting
    suite engine-dies it engine_dies:: --test-threads=1 --nocapture
}

# Whole projects, which keep both cores busy while they start.
projects() {
    suite command-line it command_line::
    suite keeping it keeping:: --test-threads=2
    suite lifecycle it lifecycle:: update:: --test-threads=3
    suite failures it failures:: --test-threads=3
    suite standby it standby:: --skip standby::postgres::
    suite stack it stack:: --skip stack::verbs:: --test-threads=1 --nocapture
    suite contract sh tests/sandbox/contract.sh
    suite verbs it stack::verbs:: --test-threads=2
    suite mutants it mutants:: --nocapture
}

# Small containers, and what waits for intervals.
waiting() {
    suite api it api:: --test-threads=4
    suite people it people:: --test-threads=3
    suite plugins it plugins:: --test-threads=2
    suite watching it watching:: --test-threads=2
    suite notify it notify:: --test-threads=2
    suite many it many:: --nocapture
    suite kills it kills:: --test-threads=2 --nocapture
    suite soak it soak:: --nocapture
    suite standby-pg on_postgres it standby:: keeping::doctor_says
    suite lifecycle-pg on_postgres it lifecycle:: --test-threads=3
    suite resources it resources:: --test-threads=1
}

together prepared built
together computing engine
sh tests/setup/postgres.sh stop

echo
echo "the tables behind these lines (kills by step, faults and what they ended in, survivors) are in $out/*.log"
printf '\n%-16s %7s %8s %8s  %s\n' suite tests skipped seconds result
awk '{printf "%-16s %7d %8d %8d  %s\n", $1, $2, $3, $4, $5; tests += $2; skipped += $3; seconds += $4}
     END {printf "%-16s %7d %8d %8d\n", "all", tests, skipped, seconds}' "$rows"
skipped=$(awk '{total += $3} END {print total + 0}' "$rows")
tests=$(awk '$5 == "ok" {total += $2} END {print total + 0}' "$rows")
bad=$(awk '$5 != "ok"' "$rows" | wc -l)
# The reason of every failure, in a few lines that survive when only the end of this output is kept.
awk '$5 != "ok" {print $1}' "$rows" | while read -r name; do
    echo "$name:"
    grep -h -A 3 'panicked at' "$out/$name.log" 2>/dev/null | cut -c 1-300 | head -n 12 | sed 's/^/    /'
done
grep -h '^design lines' "$out/design.log" 2>/dev/null || true
grep -h '^mutants' "$out/contract.log" 2>/dev/null || true
printf '\n%s passed, %s failed, %s skipped\n' "$tests" "$bad" "$skipped"
[ "$skipped" -eq 0 ] || { echo "a skipped test fails the run" >&2; exit 1; }
[ "$bad" -eq 0 ]
