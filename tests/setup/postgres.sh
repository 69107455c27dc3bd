#!/bin/sh
# A PostgreSQL of the tests' own: Debian's package, a folder and a port that nobody else has, an unprivileged user.
#
# Why not the machine's: tests make and drop databases and cut connections. Nothing of it outlives `stop`.
#
# usage: postgres.sh start|stop|url
#   start  starts it unless it runs, and waits until it answers
#   url    prints SUPAMANAGER_TEST_DATABASE_URL: a server in which each test makes a database of its own
set -eu
cd "$(dirname "$0")/../.."

# The user nobody must reach it, also when the repository is in a private folder.
base=${SUPAMANAGER_TEST_POSTGRES:-${TMPDIR:-/tmp}/supamanager-test-postgres-$(id -u)}
port=${SUPAMANAGER_TEST_POSTGRES_PORT:-27432}
data=$base/data

give_up() { echo "postgres.sh: $*" >&2; exit 1; }

# PostgreSQL refuses to run as root: Debian's own user for it does, from a folder that it may enter.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then env -C / setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi
}

# The newest version that is installed; Debian keeps the programs apart from PATH.
bin() {
    for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V -r); do
        if [ -x "$folder/$1" ]; then echo "$folder/$1"; return; fi
    done
    give_up "no $1 in /usr/lib/postgresql: install the Debian package postgresql"
}

running() { [ -s "$data/postmaster.pid" ] && as_owner "$(bin pg_ctl)" -D "$data" status >/dev/null 2>&1; }

start() {
    sh tests/setup/packages.sh postgresql util-linux
    if running; then return; fi
    mkdir -p "$base"
    [ "$(id -u)" -ne 0 ] || chown postgres: "$base"
    chmod 0700 "$base"
    if [ ! -f "$data/PG_VERSION" ]; then
        rm -rf "$data"
        # Only this machine reaches it and nothing in it is worth a password. A locale in which words of a-z sort as in SQLite.
        as_owner "$(bin initdb)" -D "$data" -U supamanager -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$base/initdb.log" 2>&1 \
            || give_up "initdb failed: $(tail -n 3 "$base/initdb.log")"
    fi
    # Commits need not survive a power cut here: tests kill processes, not machines.
    as_owner "$(bin pg_ctl)" -D "$data" -w -t 60 -l "$base/server.log" start -o \
        "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='$base' -c fsync=off -c max_connections=200" \
        >"$base/start.log" 2>&1 || give_up "it does not start: $(tail -n 5 "$base/server.log" "$base/start.log")"
}

case "${1:-}" in
    start) start ;;
    stop)
        if running; then as_owner "$(bin pg_ctl)" -D "$data" -w -t 60 -m immediate stop >/dev/null; fi
        rm -rf "$base"
        ;;
    url) echo "postgres://supamanager@127.0.0.1:$port/postgres?sslmode=disable" ;;
    *) give_up "usage: postgres.sh start|stop|url" ;;
esac
