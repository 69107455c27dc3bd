#!/bin/sh
# Makes sure that the named Debian packages are installed.
#
# Why a script: `make demo` must either install what it needs or say in ONE line what a person has to install, so
# the two answers live in one place. As root with apt-get it installs; otherwise it names the packages and exits 3.
#
# usage: packages.sh NAME...
set -eu

[ $# -gt 0 ] || { echo "packages.sh: name at least one Debian package" >&2; exit 2; }

missing=""
for name in "$@"; do
    status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$name" 2>/dev/null || true)
    case "$status" in
        ii*) ;;
        *) missing="$missing $name" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "packages.sh: please install these Debian packages, then run this again:$missing" >&2
    exit 3
fi

echo "packages.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# One refresh of the lists and one retry: a stale list is the usual reason of a first failure. 120 s is the wait for
# another apt that holds the lock (unattended upgrades on a fresh machine).
# shellcheck disable=SC2086  # $missing is a list of words on purpose
if ! apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends -qq $missing >/dev/null 2>&1; then
    apt-get -o DPkg::Lock::Timeout=120 update -qq
    apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends -qq $missing >/dev/null
fi
