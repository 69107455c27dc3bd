#!/bin/sh
# The author's way on a clean machine, in each language: `plugin new`, a green `plugin test`, and for Rust `cargo test`,
# outside of this repository. What a language needs is installed from Debian, npm or PyPI; then Rust and C are built where
# there is no network at all.
set -eu
cd "$(dirname "$0")/.."
here=$PWD
supamanager=$here/target/debug/supamanager
checks=0
work=$(mktemp -d "${TMPDIR:-/tmp}/supamanager-authors.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
# The runner that the Rust starter names is found as an author's would be.
mkdir bin
ln -s "$supamanager" bin/supamanager
PATH=$work/bin:$PATH
export PATH

sh "$here/tests/setup/packages.sh" clang lld python3 python3-venv util-linux
# Node.js 20, from wherever it came; Debian 12 has 18, with which another can be had.
command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || sh "$here/tests/setup/packages.sh" nodejs npm
if [ "$(node --version | sed 's/^v\([0-9]*\).*/\1/')" -lt 20 ]; then
    npm install --no-audit --no-fund --silent --prefix "$work/node" node@20
    PATH=$work/node/node_modules/node/bin:$PATH
fi
sh "$here/tests/setup/wasm.sh"

# offline COMMAND...: with nothing but loopback, and that is down.
offline() { unshare --net --map-root-user -- "$@" || return 1; }

checked() {
    checks=$((checks + 1))
    echo "ok: $1"
}

hooks="probe render post-create after-resume before-delete admit notify"

# One folder for what the compiler makes, the shipped plugins' own: their standard library is there already.
for hook in $hooks; do
    supamanager plugin new "$hook" --name "my-$hook"
    mkdir "my-$hook/target"
    ln -s "$here/target/plugins/.build" "my-$hook/target/plugin"
    offline supamanager plugin test "my-$hook"
    checked "rust $hook, without a network"
done
(cd my-probe && offline cargo test --offline --quiet)
checked "cargo test of the rust probe: unit tests, then its fixtures in the host"
supamanager plugin check my-probe
checked "plugin check of the rust probe"

for hook in $hooks; do
    supamanager plugin new "$hook" --lang c --name "c-$hook"
    offline supamanager plugin test "c-$hook"
    checked "c $hook, without a network"
done

# The interpreters are large: one hook each, and all of them where there is time (AUTHORS=all).
[ "${AUTHORS:-}" = all ] || hooks=probe
for hook in $hooks; do
    supamanager plugin new "$hook" --lang javascript --name "js-$hook"
    if [ -d node_modules ]; then ln -s "$work/node_modules" "js-$hook/node_modules"; else
        (cd "js-$hook" && npm install --no-audit --no-fund --silent)
        mv "js-$hook/node_modules" node_modules
        ln -s "$work/node_modules" "js-$hook/node_modules"
    fi
    supamanager plugin test "js-$hook"
    checked "javascript $hook"
done
# What the book shows, as it stands there.
block() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" "$here/plugin-sdk/book/07-languages.md" | sed '1d;$d'; }
block js >"js-probe/plugin.js"
(cd js-probe && node build.mjs)
checked "the javascript of the book"
python3 -m venv venv
PATH=$work/venv/bin:$PATH
for hook in $hooks; do
    supamanager plugin new "$hook" --lang python --name "py-$hook"
    pip install --quiet --disable-pip-version-check -r "py-$hook/requirements.txt"
    supamanager plugin test "py-$hook"
    checked "python $hook"
done
block python >py-probe/plugin.py
(cd py-probe && sh build.sh)
checked "the python of the book"
echo "checks: $checks"
