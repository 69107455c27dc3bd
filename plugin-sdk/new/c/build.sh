#!/bin/sh
# Makes plugin.wasm of plugin.c, a core module with the contract's types in it: `supamanager plugin build` makes a
# component of it. No libc and no WASI: what the host does not offer is a symbol that is missing here.
set -eu

clang --target=wasm32 -std=c11 -Os -Wall -ffreestanding -nostdlib -nostdlibinc -Iinclude -Igen \
    plugin.c runtime.c gen/*.c gen/*_component_type.o \
    -Wl,--no-entry -Wl,--stack-first -Wl,--strip-all -o plugin.wasm
