#!/bin/sh
# `make soak SEEDS=n KILLS=n`: random schedules on the fake engine and random kill -9 on a real one, longer than
# `make test` has time for. Each adds one row to tests/track-record.jsonl; fake and real are never mixed in one row.
#
# A soak of hours is cut into parts, and each runs what was built at the beginning: builds beside it change nothing, and
# the same command goes on where an interrupted one stopped, as long as the code is the same. FIRST=n begins with the n-th
# seed: rows of the same code, whose seeds follow each other, are one soak.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
seeds=${SEEDS:-0}
begin=${FIRST:-0}
kills=${KILLS:-0}
seeds_a_part=1000
kills_a_part=50
[ "$seeds" -gt 0 ] || [ "$kills" -gt 0 ] || { echo "soak.sh: say how much: make soak SEEDS=100000 KILLS=1000" >&2; exit 2; }

# A row names the commit, and what of it was tried: a commit may be written again, its contents keep this name.
parts="Cargo.lock Cargo.toml daemon migrations plugins plugin-sdk templates tests/fake tests/fixtures tests/it tests/sim"
# shellcheck disable=SC2086 # several words
[ -z "$(git status --porcelain --untracked-files=no -- $parts)" ] || {
    echo "soak.sh: commit first: a row names the code it was made with" >&2
    exit 2
}
commit=$(git rev-parse --short=12 HEAD)
# shellcheck disable=SC2086
code=$(git ls-tree HEAD $parts | git hash-object --stdin | cut -c 1-12)
out=$PWD/target/soak/$code
mkdir -p "$out/debug/deps"

# built TEST: the path of that test's binary, a copy of its own. Optimised: a third of the time on the fake engine (0.37 s to 0.13 s a seed).
built() {
    [ -x "$out/debug/deps/$1" ] || {
        made=$("$cargo" test --locked --workspace --test "$1" --no-run 2>&1 | sed -n 's/.*(\(.*\))$/\1/p' | tail -n 1)
        cp "$made" "$out/debug/deps/$1.new"
        [ "$1" != it ] || { "$cargo" build --locked -q --workspace --bins --test=* && cp "$(dirname "$(dirname "$made")")/supamanager" "$out/debug/"; }
        mv "$out/debug/deps/$1.new" "$out/debug/deps/$1"
    }
    echo "$out/debug/deps/$1"
}

# part NAME COMMAND...: runs it unless it was done; what it printed is NAME.log, and NAME.ok once it has passed.
part() {
    name=$1
    shift
    [ ! -e "$out/$name.ok" ] || return 0
    mkdir -p "$(dirname "$out/$name")"
    if SUPAMANAGER_TEST_TIMES=$out/$name.times "$@" >"$out/$name.log" 2>&1; then
        mv "$out/$name.log" "$out/$name.ok"
        echo "soak: $name: $(grep -hE '^(seeds|kills):' "$out/$name.ok")"
    else
        tail -n 60 "$out/$name.log" >&2
        echo "soak.sh: $name failed; the whole of it is in $out/$name.log" >&2
        return 1
    fi
}

# side_by_side COUNT ALL EACH WORK: cuts ALL into parts of EACH and has `WORK FIRST LENGTH LANE` do them, COUNT at once,
# until a part has failed.
side_by_side() {
    count=$1
    rm -f "$out/failed"
    workers=
    lane=0
    while [ "$lane" -lt "$count" ]; do
        (
            at=$((lane * $3))
            while [ "$at" -lt "$2" ] && [ ! -e "$out/failed" ]; do
                left=$(($2 - at))
                "$4" "$at" "$((left < $3 ? left : $3))" "$lane" || touch "$out/failed"
                at=$((at + count * $3))
            done
        ) &
        workers="$workers $!"
        lane=$((lane + 1))
    done
    for worker in $workers; do wait "$worker" || true; done
    [ ! -e "$out/failed" ] || exit 1
}

# A stand stays on its core, see tests/sim/cores.rs.
some_seeds() {
    first=$((begin + $1))
    part "$these/$first" env SUPAMANAGER_TEST_FIRST_SEED="$first" SUPAMANAGER_TEST_SEEDS="$2" taskset -c "$3" "$sim" seeds:: --nocapture
}

some_kills() {
    part "kills-$kills/$1" env SUPAMANAGER_TEST_SEED="$(($1 + 1))" SUPAMANAGER_TEST_KILLS="$2" "$it" soak:: --nocapture
}

# total WORD: the sum of the numbers behind that word in the summaries of the seeds' parts.
total() { sed -n "s/^seeds:.*$1 \([0-9][0-9]*\).*/\1/p" "$out/$these"/*.ok | awk '{sum += $1} END {print sum + 0}'; }

# spread FOLDER: p50, p95 and maximum of all its times.
spread() {
    sort -n "$out/$1"/*.times | awk '{at[NR - 1] = $1}
        END {printf "{\"p50\": %s, \"p95\": %s, \"max\": %s}", at[int(NR / 2)], at[int(NR * 95 / 100)], at[NR - 1]}'
}

if [ "$seeds" -gt 0 ]; then
    these=seeds-$begin+$seeds
    sim=$(CARGO_PROFILE_DEV_OPT_LEVEL=3 built sim)
    side_by_side "$(nproc)" "$seeds" "$seeds_a_part" some_seeds
    printf '{"commit": "%s", "code": "%s", "engine": "fake", "first": %s, "seeds": %s, "operations": %s, "kills": %s, "leaked": 0, "lost": 0, "converge_virtual_s": %s}\n' \
        "$commit" "$code" "$begin" "$seeds" "$(total operations)" "$(total crashes)" "$(spread "$these")" >>tests/track-record.jsonl
    tail -n 1 tests/track-record.jsonl
fi
if [ "$kills" -gt 0 ]; then
    sh tests/setup/engine.sh start
    version=$(docker version --format '{{.Server.Version}}')
    it=$(built it)
    # After a kill most of the time is waiting, so that the engine bears two at once.
    side_by_side 2 "$kills" "$kills_a_part" some_kills
    printf '{"commit": "%s", "code": "%s", "engine": "docker %s", "stack": "tiny", "kills": %s, "leaked": 0, "lost": 0, "converge_ms": %s}\n' \
        "$commit" "$code" "$version" "$kills" "$(spread "kills-$kills")" >>tests/track-record.jsonl
    tail -n 1 tests/track-record.jsonl
fi
