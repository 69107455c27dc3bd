#!/bin/sh
# Makes sure that a Docker engine answers, and prints where.
#
# Why: every engine test and `make demo` need one, and a fresh machine (or a build container) has none running.
# An engine that already answers is used as it is. Only an engine that this script started is ever stopped by it.
#
# usage: engine.sh [start|crash|stop|status]
set -eu

here=$(cd "$(dirname "$0")" && pwd)
state=${XDG_RUNTIME_DIR:-/tmp}/supamanager-engine
log=$state/dockerd.log
pid_file=$state/dockerd.pid
# First start on a slow disk builds the overlay store and the bridge rules; 2-4 s is usual, 60 s is a fault.
deadline_s=60

answers() { timeout 10 docker version --format '{{.Server.Version}}' 2>/dev/null; }

# The pid file outlives a crash, and pids are reused: only a process that is really dockerd counts.
ours() {
    [ -f "$pid_file" ] || return 1
    pid=$(cat "$pid_file")
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]
}

has_client_and_daemon() { command -v docker >/dev/null 2>&1 && command -v dockerd >/dev/null 2>&1; }

# dockerd needs a cgroup hierarchy; a minimal init (micro-VM, container) may not have mounted one.
mount_cgroups() {
    if ! mountpoint -q /sys/fs/cgroup; then
        mount -t cgroup2 none /sys/fs/cgroup
    fi
}

# Debian's iptables defaults to the nf_tables back end; a kernel without it needs the legacy one. dockerd finds
# "iptables" on its PATH, so a folder in front of PATH chooses without touching the machine's alternatives.
iptables_path() {
    if iptables -w 5 -t nat -L >/dev/null 2>&1; then return 0; fi
    if iptables-legacy -w 5 -t nat -L >/dev/null 2>&1; then
        mkdir -p "$state/bin"
        for tool in iptables ip6tables; do
            ln -sf "$(command -v "$tool-legacy")" "$state/bin/$tool"
        done
        PATH=$state/bin:$PATH
        export PATH
        echo "engine.sh: this kernel has no nf_tables, dockerd gets iptables-legacy"
        return 0
    fi
    echo "engine.sh: neither iptables nor iptables-legacy works here; published ports need one of them" >&2
    exit 3
}

start() {
    if command -v docker >/dev/null 2>&1 && version=$(answers) && [ -n "$version" ]; then
        echo "engine.sh: Docker engine $version answers at ${DOCKER_HOST:-unix:///var/run/docker.sock}"
        return 0
    fi
    if [ -n "${DOCKER_HOST:-}" ]; then
        echo "engine.sh: DOCKER_HOST is $DOCKER_HOST, but no engine answers there; start it, or unset DOCKER_HOST" >&2
        exit 3
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "engine.sh: no Docker engine answers; start one (sudo systemctl start docker), or set DOCKER_HOST" >&2
        exit 3
    fi
    if ! has_client_and_daemon; then
        "$here/packages.sh" docker.io iptables
    fi
    mkdir -p "$state"
    mount_cgroups
    iptables_path
    echo "engine.sh: starting dockerd, log in $log"
    # A session of its own, so that the engine outlives the shell, the make and the terminal that started it.
    setsid dockerd --storage-driver overlay2 --pidfile "$pid_file" \
        >>"$log" 2>&1 </dev/null &
    waited=0
    until version=$(answers) && [ -n "$version" ]; do
        waited=$((waited + 1))
        if [ "$waited" -ge "$deadline_s" ] || { [ "$waited" -ge 3 ] && ! ours; }; then
            echo "engine.sh: dockerd did not answer within ${waited} s; last lines of $log:" >&2
            tail -n 5 "$log" >&2
            exit 3
        fi
        sleep 1
    done
    echo "engine.sh: Docker engine $version started (stop it with: $0 stop)"
}

stop() {
    if ! ours; then
        echo "engine.sh: no engine of ours is running, nothing to stop"
        return 0
    fi
    pid=$(cat "$pid_file")
    kill "$pid"
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
        waited=$((waited + 1))
        # dockerd stops every container first, each with its own grace (60 s for a database).
        if [ "$waited" -ge 120 ]; then
            echo "engine.sh: dockerd (pid $pid) is still stopping after 120 s" >&2
            exit 1
        fi
        sleep 1
    done
    rm -f "$pid_file"
    echo "engine.sh: stopped the engine that this script had started"
}

# As a crash ends it: its containers go on without it until it is started again, which ends them (no live restore).
crash() {
    ours || { echo "engine.sh: no engine of ours is running, and another's is not killed" >&2; exit 3; }
    pid=$(cat "$pid_file")
    kill -9 "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    rm -f "$pid_file"
}

case ${1:-start} in
    start) start ;;
    crash) crash ;;
    stop) stop ;;
    status) if version=$(answers) && [ -n "$version" ]; then echo "$version"; else echo "no engine answers" >&2; exit 1; fi ;;
    *) echo "usage: engine.sh [start|crash|stop|status]" >&2; exit 2 ;;
esac
