#!/bin/sh
# `make demo` twice and `make demo-down`, on a data folder and an address of their own, as part of `make test`.
set -eu
cd "$(dirname "$0")/../.."

SUPAMANAGER_DATA_DIR=$PWD/target/demo-check
SUPAMANAGER_LISTEN=${SUPAMANAGER_LISTEN:-127.0.0.1:18080}
SUPAMANAGER_IMAGE_SET=${SUPAMANAGER_TEST_IMAGE_SET:-sandbox}
export SUPAMANAGER_DATA_DIR SUPAMANAGER_LISTEN SUPAMANAGER_IMAGE_SET
# The caller's own daemon is none of this check's business.
unset SUPAMANAGER_URL SUPAMANAGER_TOKEN PROJECT_ID

checks=0
check() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] || { echo "demo check: $1 is $2, expected $3" >&2; exit 1; }
}

rm -rf "$SUPAMANAGER_DATA_DIR"
sh tests/demo/up.sh
check "the mode of demo.env" "$(stat -c %a "$SUPAMANAGER_DATA_DIR/demo.env")" 600
first=$(. "$SUPAMANAGER_DATA_DIR/demo.env" && echo "$PROJECT_ID")

sh tests/demo/up.sh
second=$(. "$SUPAMANAGER_DATA_DIR/demo.env" && echo "$PROJECT_ID")
check "a second run" "$([ "$first" != "$second" ] && echo another project)" "another project"
status=$(. "$SUPAMANAGER_DATA_DIR/demo.env" && target/debug/supamanager project show "$PROJECT_ID" | grep -c ACTIVE_HEALTHY)
check "the README's next command" "$status" 1

installation=$(cat "$SUPAMANAGER_DATA_DIR/installation")
sh tests/demo/down.sh
check "what is left" "$(docker ps -aq --filter "label=io.supamanager.installation=$installation" | wc -l)" 0
check "the daemon's pid file" "$(ls "$SUPAMANAGER_DATA_DIR" | grep -c '^daemon.pid$' || true)" 0
loud=$(sed 's/\x1b\[[0-9;]*m//g' "$SUPAMANAGER_DATA_DIR/daemon.log" | grep -cE ' (WARN|ERROR) ' || true)
check "unexpected lines in $SUPAMANAGER_DATA_DIR/daemon.log" "$loud" 0
rm -rf "$SUPAMANAGER_DATA_DIR"
echo "checks: $checks"
