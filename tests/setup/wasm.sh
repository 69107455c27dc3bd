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

# The workspace's own `rust-version`, which the plugins have too.
needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")
new_enough() {
    version=$("$1" --version 2>/dev/null | awk '{print $2}')
    [ "$(printf '%s\n%s\n' "$needed" "$version" | sort -V | head -n 1)" = "$needed" ]
}

for rustc in "${SUPAMANAGER_WASM_RUSTC:-}" rustc /usr/bin/rustc; do
    [ -n "$rustc" ] || continue
    command -v "$rustc" >/dev/null 2>&1 || continue
    new_enough "$rustc" || continue
    if has_std "$rustc" || has_sources "$rustc"; then exit 0; fi
done
"$here/packages.sh" --newest rustc-web rust-web-src
new_enough /usr/bin/rustc || {
    echo "wasm.sh: plugins need a Rust compiler of $needed or newer that can build for $target, and Debian's rustc-web here" \
        "is $(/usr/bin/rustc --version | awk '{print $2}'): run rustup target add $target" >&2
    exit 3
}
