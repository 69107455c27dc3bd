#!/bin/sh
# Prints the path of an image registry's program for the pull tests.
#
# Why not simply installed: Debian's package starts a service on port 5000, which nobody asked for. Its one program is
# unpacked into target/tools instead; that needs no root.
set -eu
cd "$(dirname "$0")/../.."

if command -v docker-registry >/dev/null 2>&1; then
    command -v docker-registry
    exit 0
fi
folder=$PWD/target/tools/registry
program=$folder/usr/bin/docker-registry
if [ ! -x "$program" ]; then
    command -v apt-get >/dev/null 2>&1 || { echo "registry.sh: please install docker-registry, then run this again" >&2; exit 3; }
    mkdir -p "$folder"
    cd "$folder"
    # 8 MB; a mirror that takes longer is not going to answer.
    timeout 120 apt-get download -qq docker-registry >&2 ||
        { timeout 120 apt-get update -qq >&2; timeout 120 apt-get download -qq docker-registry >&2; }
    dpkg-deb -x docker-registry_*.deb .
    rm -f docker-registry_*.deb
fi
echo "$program"
