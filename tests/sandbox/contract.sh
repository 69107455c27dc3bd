#!/bin/sh
# The contract without an engine: against stack-facts, against the template set, against the stack that the engine
# tests rendered last (target/rendered), and the mutation score of the checker on it.
set -eu
cd "$(dirname "$0")/../.."

[ -f target/rendered/docker-compose.yml ] || {
    echo "contract.sh: target/rendered is missing; the suite \`stack\` of make test writes it" >&2
    exit 3
}
python3 tests/sandbox/facts.py
python3 tests/sandbox/check.py --set templates/sets/supabase
python3 tests/sandbox/check.py target/rendered --images "${SUPAMANAGER_TEST_IMAGE_SET:-sandbox}"
python3 tests/sandbox/mutate.py target/rendered
echo "checks: 4"
