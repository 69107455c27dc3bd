#!/bin/sh
# A second Docker engine, of another age: Debian trixie's docker.io 26.1 (API 1.45), beside the first one.
#
# Why: what the fake engine does is held against real ones, and two versions of the real one differ. The engine lives
# in a debootstrap root under target/tools, in a network namespace of its own (two engines in one namespace would
# rewrite each other's firewall chains), with its own socket and data folder.
#
# usage: engine26.sh [start|stop|host]   `host` prints the address for DOCKER_HOST
set -eu

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
tools=$repo/target/tools
root=$tools/trixie
state=${XDG_RUNTIME_DIR:-/tmp}/supamanager-engine26
host=unix://$state/docker.sock
deadline_s=60

answers() { timeout 10 docker -H "$host" version --format '{{.Server.Version}}' 2>/dev/null; }

install_root() {
    [ ! -x "$root/usr/sbin/dockerd" ] || return 0
    "$here/packages.sh" debootstrap
    from=$(sh "$here/mirror.sh")
    [ -n "$from" ] || { echo "engine26.sh: no Debian mirror in apt's sources; a second engine needs one" >&2; exit 3; }
    echo "engine26.sh: installing Debian trixie's docker.io into $root (about a minute)"
    mkdir -p "$tools"
    rm -rf --one-file-system "$root.new"
    debootstrap --force-check-gpg --variant=minbase --include=docker.io,iptables trixie "$root.new" "$from" >"$tools/trixie.log" 2>&1 ||
        { echo "engine26.sh: debootstrap failed; last lines of $tools/trixie.log:" >&2; tail -n 5 "$tools/trixie.log" >&2; exit 3; }
    mv "$root.new" "$root"
}

# Runs inside the new network and mount namespaces. The root is changed by pivot_root and not by chroot: with chroot a
# program that runc executes in a container would find itself in this machine's root (seen).
daemon() {
    [ "${outside_mounts:-}" ] && [ "$outside_mounts" != "$(readlink /proc/self/ns/mnt)" ] ||
        { echo "engine26.sh: \`daemon\` is what start runs in a mount namespace of its own; use start" >&2; exit 2; }
    ip link set lo up
    mount --bind "$root" "$root"
    for folder in proc sys dev; do mount --rbind "/$folder" "$root/$folder"; done
    # A fresh root has no folder for the engine's data yet.
    mkdir -p "$root/old" "$root$state" "$root/var/lib/docker" "$state/data"
    mount --bind "$state/data" "$root/var/lib/docker"
    # The folders of the tests' projects lie in the temporary folder: the engine must see the same one. The socket lies
    # there too.
    mount --bind /tmp "$root/tmp"
    mount --bind "$state" "$root$state"
    cd "$root"
    pivot_root . old
    umount --lazy /old
    if ! iptables -w 5 -t nat -L >/dev/null 2>&1; then
        for tool in iptables ip6tables; do update-alternatives --set "$tool" "/usr/sbin/$tool-legacy" >/dev/null; done
    fi
    echo 1 >/proc/sys/net/ipv4/ip_forward
    exec dockerd --storage-driver overlay2 --pidfile "$state/dockerd.pid" --exec-root "$state/exec" --host "$host"
}

ours() { [ -f "$state/dockerd.pid" ] && [ "$(cat "/proc/$(cat "$state/dockerd.pid")/comm" 2>/dev/null)" = dockerd ]; }

is_26() { case $1 in 26.*) ;; *) echo "engine26.sh: the engine at $host is $1 and not 26: stop it" >&2; exit 3 ;; esac; }

start() {
    # An engine whose root was removed under it still answers, and starts no container any more.
    if [ -x "$root/usr/sbin/dockerd" ] && version=$(answers) && [ -n "$version" ]; then
        is_26 "$version"
        echo "engine26.sh: Docker engine $version answers at $host"
        return 0
    fi
    ! ours || stop
    [ "$(id -u)" -eq 0 ] || { echo "engine26.sh: a second engine needs root" >&2; exit 3; }
    install_root
    "$here/packages.sh" iproute2 util-linux
    mkdir -p "$state"
    chmod 700 "$state"
    rm -f "$state/dockerd.pid"
    outside_mounts=$(readlink /proc/self/ns/mnt) \
        setsid unshare --net --mount --propagation private sh "$0" daemon >"$state/dockerd.log" 2>&1 </dev/null &
    starting=$!
    waited=0
    until version=$(answers) && [ -n "$version" ]; do
        waited=$((waited + 1))
        if [ "$waited" -ge "$deadline_s" ] || ! kill -0 "$starting" 2>/dev/null; then
            echo "engine26.sh: dockerd does not answer after ${waited} s; last lines of $state/dockerd.log:" >&2
            tail -n 5 "$state/dockerd.log" >&2
            exit 3
        fi
        sleep 1
    done
    is_26 "$version"
    echo "engine26.sh: Docker engine $version started at $host (stop it with: $0 stop)"
}

stop() {
    ours || { echo "engine26.sh: no engine of ours is running, nothing to stop"; return 0; }
    pid=$(cat "$state/dockerd.pid")
    kill "$pid"
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
        waited=$((waited + 1))
        [ "$waited" -lt 60 ] || { echo "engine26.sh: dockerd (pid $pid) is still stopping after 60 s" >&2; exit 1; }
        sleep 1
    done
    rm -f "$state/dockerd.pid"
    echo "engine26.sh: stopped"
}

case ${1:-start} in
    start) start ;;
    stop) stop ;;
    host) echo "$host" ;;
    daemon) daemon ;;
    *) echo "usage: engine26.sh [start|stop|host]" >&2; exit 2 ;;
esac
