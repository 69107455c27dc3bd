#!/bin/sh
# Prints the Debian mirror that this machine's apt uses already, without its security and third-party lists; nothing
# when there is none. DEBIAN_MIRROR, if set, is the answer.
set -eu

listed() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" && $2 !~ /security/ {print $2; exit}'
}

if [ -n "${DEBIAN_MIRROR:-}" ]; then
    echo "$DEBIAN_MIRROR"
    exit 0
fi
command -v apt-get >/dev/null 2>&1 || exit 0
from=$(listed)
# Without downloaded lists apt does not know whose they are.
[ -n "$from" ] || { [ "$(id -u)" -ne 0 ] || apt-get update -qq >/dev/null 2>&1 || true; from=$(listed); }
echo "$from"
