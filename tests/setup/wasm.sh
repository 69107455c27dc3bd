#!/bin/sh
# Makes sure that some Rust toolchain here can build plugins: one with the target's standard library, or one with
# its sources. `supamanager plugin build` chooses between them and never installs anything itself.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=wasm32-unknown-unknown

has_std() {
    libdir=$("$1" --print target-libdir --target "$target" 2>/dev/null) || return 1
    ls "$libdir"/libstd-*.rlib >/dev/null 2>&1
}

has_sources() {
    root=$("$1" --print sysroot 2>/dev/null) || return 1
    [ -d "$root/lib/rustlib/src/rust/library/std" ]
}

for rustc in "${SUPAMANAGER_WASM_RUSTC:-}" rustc /usr/bin/rustc; do
    [ -n "$rustc" ] || continue
    command -v "$rustc" >/dev/null 2>&1 || continue
    if has_std "$rustc" || has_sources "$rustc"; then exit 0; fi
done
"$here/packages.sh" rustc-web rust-web-src
