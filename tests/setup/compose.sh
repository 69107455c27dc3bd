#!/bin/sh
# Finds Docker Compose v2, and prints the path of its program on the last line of standard output.
#
# Why: the rendered folder must be one that Compose v2 accepts, and `make bench` measures against it. Debian 12 has
# only version 1 (written in Python, another program), so the package of Debian 13 is downloaded into
# target/tools/compose, with the machine's own apt and its keyring, and unpacked there. Nothing is installed.
#
# usage: compose.sh          (DEBIAN_MIRROR, if set, is where the package comes from)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=$(cd "$here/../.." && pwd)/target/tools/compose
cached=$cache/root/usr/libexec/docker/cli-plugins/docker-compose
# One list and one package of 13 MB; a mirror that takes longer is not going to answer.
download_deadline_s=300

say() { echo "compose.sh: $*" >&2; }

# Version 1 also knows `version`, and says 1.x there.
is_v2() { [ -x "$1" ] && timeout 20 "$1" version --short 2>/dev/null | grep -Eq '^v?([2-9]|[1-9][0-9]+)\.'; }

# The program behind `docker compose` works alone as well.
plugin() {
    command -v docker >/dev/null 2>&1 || return 0
    timeout 20 docker info --format '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Path}}{{end}}{{end}}' 2>/dev/null || true
}

found() {
    for program in "$(plugin)" "$(command -v docker-compose 2>/dev/null || true)" "$cached"; do
        if [ -n "$program" ] && is_v2 "$program"; then
            echo "$program"
            return 0
        fi
    done
    return 1
}

give_up() {
    say "$1; install Docker Compose v2 (as the plugin of docker, or as docker-compose on the PATH) and run this again"
    exit 3
}

download() {
    command -v apt-get >/dev/null 2>&1 || give_up "there is no Compose v2 and no apt-get here"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || give_up "there is no Compose v2 and no $keyring here"
    from=$(sh "$here/mirror.sh")
    [ -n "$from" ] || give_up "there is no Compose v2 here, and apt has no Debian source (DEBIAN_MIRROR=URL names one)"
    work=$cache/work.$$
    mkdir -p "$work/lists/partial" "$work/archives/partial"
    trap 'rm -rf "$work"' EXIT INT TERM
    echo "deb [signed-by=$keyring] $from trixie main" >"$work/sources.list"
    # Lists, archives and sources of its own: the machine's apt stays as it is, its proxy settings apply.
    set -- -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3
    say "downloading Debian 13's docker-compose package into $cache"
    if ! (cd "$work" && timeout "$download_deadline_s" apt-get "$@" update &&
        timeout "$download_deadline_s" apt-get "$@" download docker-compose) >"$work/log" 2>&1; then
        tail -n 5 "$work/log" >&2
        give_up "Debian 13's docker-compose package cannot be downloaded from $from"
    fi
    dpkg-deb -x "$work"/docker-compose_*.deb "$work/root"
    # Renamed when complete: a killed download leaves nothing that looks finished.
    rm -rf "$cache/root"
    mv "$work/root" "$cache/root"
}

if ! found; then
    mkdir -p "$cache"
    # Two callers at once: the second waits, and finds what the first has made.
    exec 9>"$cache/lock"
    flock -w "$((2 * download_deadline_s + 60))" 9 || give_up "another download holds $cache/lock"
    found || { download; found || give_up "the downloaded $cached does not run here"; }
fi
