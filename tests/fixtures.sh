#!/bin/sh
# The fixtures of the shipped plugins, each called in the real host by the author's own command.
set -eu
cd "$(dirname "$0")/.."
checks=0
for plugin in plugins/*; do
    name=$(basename "$plugin")
    echo "$name"
    target/debug/supamanager plugin test "target/plugins/$name" --fixtures "$plugin/fixtures"
    checks=$((checks + $(find "$plugin/fixtures" -name '*.json' | wc -l)))
done
echo "checks: $checks"
