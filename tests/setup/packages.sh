#!/bin/sh
# Makes sure that the named Debian packages are installed.
#
# Why a script: `make demo` must either install what it needs or say in ONE line what a person has to install, so
# the two answers live in one place. As root with apt-get it installs; otherwise it names the packages and exits 3.
#
# usage: packages.sh [--newest] NAME...
#   --newest: a package that is there is brought to the newest version that the distribution has
set -eu

newest=no
[ "${1:-}" != --newest ] || { newest=yes; shift; }
[ $# -gt 0 ] || { echo "packages.sh: name at least one Debian package" >&2; exit 2; }

missing=""
for name in "$@"; do
    status=$(dpkg-query -W -f='${db:Status-Abbrev}' "$name" 2>/dev/null || true)
    case "$newest $status" in
        "no ii"*) ;;
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
# The lists first, once a day: an image half a year old names packages that are gone, and a rustc-web of ten versions
# ago (1.85 instead of 1.96, seen). 600 s is the wait for another apt that holds the lock (unattended upgrades).
stamp=/var/lib/apt/lists/supamanager-refreshed
if [ -z "$(find "$stamp" -mtime -1 2>/dev/null)" ]; then
    if apt-get -o DPkg::Lock::Timeout=600 update -qq; then
        touch "$stamp"
    else
        echo "packages.sh: the package lists could not be refreshed, trying with those that are here" >&2
    fi
fi
# shellcheck disable=SC2086  # $missing is a list of words on purpose
apt-get -o DPkg::Lock::Timeout=600 install -y --no-install-recommends -qq $missing >/dev/null
