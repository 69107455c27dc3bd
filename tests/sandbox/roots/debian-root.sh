#!/bin/sh
# Makes the tar of a small Debian root file system: the one layer that all sandbox images of a kind share.
#
# Why debootstrap and not a base image: the machines this runs on have Debian's mirror but often no image registry.
# Why things are cut away afterwards: thirty containers share this layer, but every engine has to store it, and the
# compiler run-time behind PostgreSQL's JIT alone is half of the unpacked size.
#
# usage: debian-root.sh SUITE OUT.tar COMMAND PACKAGE...   (COMMAND runs inside the root when all is installed)
set -eu

[ $# -ge 4 ] || { echo "usage: debian-root.sh SUITE OUT.tar COMMAND PACKAGE..." >&2; exit 2; }
suite=$1
out=$2
then=$3
shift 3
if [ "$(id -u)" -ne 0 ]; then
    echo "debian-root.sh: debootstrap needs root; run this once as root (sudo make sandbox)" >&2
    exit 3
fi
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
root=$(mktemp -d "${TMPDIR:-/tmp}/sandbox-root.XXXXXX")
# mktemp makes it 0700, and this mode becomes the mode of / in every image.
chmod 755 "$root"
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root" "$out.part"' EXIT INT TERM

step() { echo "debian-root.sh: $suite: $*"; }

quiet() {
    if ! "$@" >"$root.log" 2>&1; then
        echo "debian-root.sh: $suite: this failed: $*" >&2
        tail -n 15 "$root.log" >&2
        rm -f "$root.log"
        exit 1
    fi
    rm -f "$root.log"
}

step "debootstrap (minbase)"
quiet debootstrap --variant=minbase "$suite" "$root" "$mirror"

# Nothing is started inside the root, documentation stays out, and no database cluster is made: the db image makes
# its own with the options of the real one.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' \
    > "$root/etc/dpkg/dpkg.cfg.d/sandbox"
mkdir -p "$root/etc/postgresql-common"
echo 'create_main_cluster = false' > "$root/etc/postgresql-common/createcluster.conf"

step "installing $*"
mount -t proc proc "$root/proc"
quiet chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get update -qq
quiet chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get install -y -qq --no-install-recommends "$@"
step "running the last command inside"
quiet chroot "$root" env LC_ALL=C sh -c "$then"
umount "$root/proc"

step "cutting away what no sandbox image uses"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/* "$root"/var/log/* \
    "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale "$root"/usr/share/info \
    "$root"/usr/share/perl* "$root"/usr/lib/x86_64-linux-gnu/perl "$root"/usr/lib/*/libLLVM* "$root"/usr/lib/*/libz3.* \
    "$root"/usr/lib/postgresql/*/lib/bitcode "$root"/usr/lib/postgresql/*/lib/llvmjit* \
    "$root"/usr/lib/*/libicudata.a "$root"/usr/share/zoneinfo-icu "$root"/usr/share/i18n "$root"/usr/sbin/policy-rc.d
# /dev is the container's own; device nodes in a layer cannot be unpacked by an engine in a user namespace.
find "$root/dev" -mindepth 1 -delete

step "packing"
# Times stay as they are: Python trusts its compiled modules only while they match, and compiling the standard library
# anew cost every stand-in a quarter of a second of processor time per start.
tar --sort=name --numeric-owner --xattrs -C "$root" -cf "$out.part" .
mv "$out.part" "$out"
step "done: $(du -h "$out" | cut -f1)"
