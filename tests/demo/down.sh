#!/bin/sh
# `make demo-down`: deletes every project of the demo's daemon through the API, and shows that nothing is left.
set -eu
. "$(dirname "$0")/common.sh"

[ -f "$env_file" ] || fail "no demo is here: $env_file is missing"
. "$env_file"
daemon_runs || fail "the daemon does not answer at $SUPAMANAGER_URL: make demo starts it"
installation=$(cat "$data/installation")

say "delete"
projects=$(api GET '/platform/projects?limit=200' | python3 -c 'import json,sys
for project in json.load(sys.stdin)["projects"]: print(project["id"])')
ports=
for project in $projects; do
    ports="$ports $(docker ps -q --filter "label=io.supamanager.project=$project" --filter "label=io.supamanager.installation=$installation" |
        xargs -r docker inspect -f '{{range .HostConfig.PortBindings}}{{range .}}{{.HostPort}} {{end}}{{end}}' | tr '\n' ' ')"
    "$bin" project delete "$project" --confirm "$project"
done

say "what is left"
left=0
count() {
    printf '%-12s %s\n' "$1" "$2"
    left=$((left + $2))
}
filter=label=io.supamanager.installation=$installation
count containers "$(docker ps -aq --filter "$filter" | wc -l)"
count networks "$(docker network ls -q --filter "$filter" | wc -l)"
count volumes "$(docker volume ls -q --filter "$filter" | wc -l)"
# Only the projects' own: others on this machine may listen in the same ranges.
listening=0
for port in $ports; do
    [ -z "$(ss -Hltn "sport = :$port")" ] || listening=$((listening + 1))
done
count ports "$listening"
folders=0
for folder in "$data"/projects/*/; do
    [ -d "$folder" ] && folders=$((folders + 1))
done
count folders "$folders"

stop_daemon
rm -f "$env_file"
[ "$left" -eq 0 ] || fail "$left objects are left"
echo "nothing is left; the daemon is stopped"
