#!/bin/sh
# Makes plugin.wasm of plugin.py, for the hook of plugin.toml.
set -eu

hook=$(sed -n 's/^hook = "\(.*\)"/\1/p' plugin.toml)
imports=$(tr '\n' ' ' < plugin.toml | sed 's/.*imports = \(\[[^]]*\]\).*/\1/')

# componentize-py imports all that a world has, the host links only what plugin.toml lists: a world with just that.
rm -rf build && mkdir build
cp wit/*.wit build
awk -v imports="$imports" '$1 != "import" || index(imports, "\"" substr($2, 1, length($2) - 1) "\"")' \
    wit/worlds.wit > build/worlds.wit

# --stub-wasi: the host refuses a plugin that imports WASI.
componentize-py --quiet --wit-path build --world "$hook" componentize plugin --stub-wasi --output plugin.wasm
