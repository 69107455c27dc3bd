#!/bin/sh
# `make demo`: from a fresh clone to a first healthy project, and proofs from outside.
set -eu
. "$(dirname "$0")/common.sh"

say "1/7 packages"
sh tests/setup/packages.sh make gcc libc6-dev curl ca-certificates python3 python3-yaml postgresql-client iproute2
sh tests/setup/wasm.sh
echo "all there"

say "2/7 build the daemon and its plugins"
make --no-print-directory plugins

say "3/7 container engine"
sh tests/setup/engine.sh start

say "4/7 images"
image_set=${SUPAMANAGER_IMAGE_SET:-}
if [ -z "$image_set" ]; then
    # The smallest of the ten says whether a registry answers at all.
    if timeout 60 docker pull -q kong:2.8.1 >/dev/null 2>&1; then
        image_set=supabase
    else
        echo "no image registry answers here: building the sandbox images from Debian packages"
        image_set=sandbox
    fi
fi
[ "$image_set" != sandbox ] || sh tests/sandbox/build.sh
echo "image set: $image_set"

say "5/7 daemon"
mkdir -p -m 0700 "$data"
if daemon_runs; then
    echo "runs already (pid $(cat "$pid_file"))"
else
    ! curl -fsS -m 5 -o /dev/null "$SUPAMANAGER_URL/healthz" 2>/dev/null ||
        fail "another daemon answers at $SUPAMANAGER_URL: stop it, or name another address with SUPAMANAGER_LISTEN=127.0.0.1:8081"
    # A session of its own, so that it outlives this script; its log is in the data folder.
    SUPAMANAGER_DATA_DIR=$data SUPAMANAGER_LISTEN=$listen SUPAMANAGER_IMAGE_SET=$image_set \
        SUPAMANAGER_PLUGINS_DIR=$root/target/plugins SUPAMANAGER_TEMPLATES_DIR=$root/templates \
        setsid "$bin" serve >>"$log" 2>&1 </dev/null &
    echo $! >"$pid_file"
    waited=0
    until curl -fsS -m 5 -o /dev/null "$SUPAMANAGER_URL/readyz" 2>/dev/null; do
        waited=$((waited + 1))
        kill -0 "$(cat "$pid_file")" 2>/dev/null || { tail -n 5 "$log" >&2; fail "the daemon ended; its log is $log"; }
        [ "$waited" -lt 60 ] || { tail -n 5 "$log" >&2; fail "the daemon is not ready after 60 s; its log is $log"; }
        sleep 1
    done
    echo "serves at $SUPAMANAGER_URL (pid $(cat "$pid_file"), log $log)"
fi
if [ -f "$env_file" ]; then
    . "$env_file"
    api GET /platform/regions | grep -q regions || unset SUPAMANAGER_TOKEN
fi
[ -n "${SUPAMANAGER_TOKEN:-}" ] || SUPAMANAGER_TOKEN=$(SUPAMANAGER_DATA_DIR=$data "$bin" token create --name demo)
export SUPAMANAGER_TOKEN

say "6/7 a project"
project_id=$("$bin" project create "My App" --image-set "$image_set" --no-wait)
umask 077
{
    echo "export SUPAMANAGER_URL=$SUPAMANAGER_URL"
    echo "export SUPAMANAGER_TOKEN=$SUPAMANAGER_TOKEN"
    echo "export PROJECT_ID=$project_id"
} >"$env_file"
"$bin" project watch "$project_id"
"$bin" project show "$project_id" --credentials

say "7/7 proofs from outside"
credentials=$(api GET "/platform/projects/$project_id/credentials")
endpoint=$(api GET "/platform/projects/$project_id" | field endpoint)
anon=$(echo "$credentials" | field api_keys anon)
database=$(echo "$credentials" | field database_url)

status() { curl -sS -m 20 -o /dev/null -w '%{http_code}' "$@"; }
prove() {
    if [ "$2" = "$3" ]; then echo "ok    $1: $2"; else fail "$1: expected $3, found $2"; fi
}
prove "gateway with the anon key" "$(status -H "apikey: $anon" "$endpoint/auth/v1/health")" 200
prove "gateway without a key" "$(status "$endpoint/rest/v1/")" 401
prove "SQL over the published port" "$(psql "$database" -XAtc 'select 6 * 7')" 42
psql "$database" -Xq <<'SQL'
create table if not exists public.greetings (id int primary key, words text not null);
grant select on public.greetings to anon;
insert into public.greetings values (1, 'written through SQL') on conflict do nothing;
SQL
row=
waited=0
# PostgREST reloads its schema when the database tells it that a table came: a moment later.
while [ -z "$row" ] && [ "$waited" -lt 15 ]; do
    row=$(curl -sS -m 20 -H "apikey: $anon" -H "Authorization: Bearer $anon" \
        "$endpoint/rest/v1/greetings?select=words&id=eq.1" | sed -n 's/.*"words": *"\([^"]*\)".*/\1/p')
    [ -n "$row" ] || { waited=$((waited + 1)); sleep 1; }
done
prove "the row, read through the gateway" "$row" "written through SQL"

cat <<TEXT

The daemon goes on running. To use it from this shell:

    . ${env_file#"$root"/}
    target/debug/supamanager project show \$PROJECT_ID

make demo-down removes it all.
TEXT
