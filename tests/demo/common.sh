# What up.sh and down.sh share. Sourced, not run.

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
bin=$root/target/debug/supamanager
data=${SUPAMANAGER_DATA_DIR:-$root/data}
log=$data/daemon.log
pid_file=$data/daemon.pid
env_file=$data/demo.env
listen=${SUPAMANAGER_LISTEN:-127.0.0.1:8080}
SUPAMANAGER_URL=http://$listen
export SUPAMANAGER_URL
# A proxy for the way out cannot reach this machine's own address.
no_proxy=${no_proxy:+$no_proxy,}127.0.0.1,localhost
export no_proxy

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

daemon_runs() {
    [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null &&
        curl -fsS -m 5 -o /dev/null "$SUPAMANAGER_URL/healthz" 2>/dev/null
}

# stop_daemon: SIGTERM, then waits until the process is gone, so that the next one finds the folder free.
stop_daemon() {
    pid=$(cat "$pid_file")
    kill "$pid"
    waited=0
    while kill -0 "$pid" 2>/dev/null; do
        waited=$((waited + 1))
        [ "$waited" -lt 60 ] || fail "the daemon (pid $pid) does not stop; its log is $log"
        sleep 1
    done
    rm -f "$pid_file"
}

# api METHOD PATH [BODY]: one call with the token; the body of the answer.
api() {
    curl -sS -m 60 -X "$1" -H "Authorization: Bearer $SUPAMANAGER_TOKEN" -H 'Content-Type: application/json' \
        ${3:+-d "$3"} "$SUPAMANAGER_URL$2"
}

# field KEY...: reads JSON from standard input and prints the value under the keys.
field() {
    python3 -c 'import json,sys
value = json.load(sys.stdin)
for key in sys.argv[1:]:
    value = value[key]
print(value)' "$@"
}
