//! Words to make inputs of: those that are right, those that are nearly right, and those that ask for the host.
//!
//! A pool is one text of words; `·` is the empty word and `␣` a space in one. What is right stands there more than once: one
//! wrong word among right ones is what a rule has to find, several are found by any rule.

use proptest::prelude::*;
use proptest::sample::{Select, select};

/// Keys of Compose that ask for more than a stack may have, or that a stack has no use for.
pub const FORBIDDEN: &str = "privileged cap_add cap_drop devices device_cgroup_rules network_mode pid ipc uts userns_mode cgroup
    cgroup_parent security_opt sysctls volumes_from env_file extends build include configs secrets tmpfs runtime deploy expose
    links dns dns_search dns_opt extra_hosts external_links group_add pull_policy shm_size storage_opt oom_score_adj
    oom_kill_disable mem_limit memswap_limit cpus cpuset isolation platform credential_spec domainname mac_address read_only
    scale profiles develop annotations attach blkio_config gpus models provider use_api_socket post_start pre_stop working_dir
    stdin_open tty label_file external attachable internal enable_ipv6 link_local_ips gw_priority x-anything << version";

/// Keys that have a meaning somewhere in a stack.
pub const KNOWN: &str = "name services networks volumes db vector miner default db-config image container_name hostname restart
    pids_limit init user stop_signal stop_grace_period labels command entrypoint environment ports ulimits nofile soft hard
    healthcheck test interval timeout retries start_period logging driver options depends_on condition aliases ipv4_address
    ipam config subnet gateway ip_range driver_opts type o device";

/// Values that mean something to an engine, to Compose, to YAML or to a file system.
pub const ODD: &str = "/ /etc/shadow /var/run/docker.sock ../.. ./../x ~/.ssh ${X} ${DB_PASSWORD} ${OWNER_PASSWORD} $$ $ $$$
    ${X:-y} ${} %s %00 \\ \\x2e\\x2e {{.Name}} host bridge none container:db service:db 0.0.0.0 :: 127.0.0.1 2130706433
    0x7f000001 10.201.0.1 10.201.0.30 0 -1 1e9 true null ~ root 0:0 ALL SYS_ADMIN seccomp:unconfined /dev/sda:/dev/sda
    rshared always unless-stopped local nfs bind bind,suid addr=10.0.0.1 · ␣ é \u{202e} \u{2028} \u{85} \u{feff} \u{200b}";

/// Scalars that are written without quotes, so that YAML gives them a type.
pub const PLAIN: &str = "0 1 -1 5 64 300 1024 4096 4097 65536 1048576 9223372036854775807 99999999999999999999 0x1F 0o17 1_000
    1.5 1e3 .inf .nan true false yes NO null ~ 2024-01-31 1:30 {} [] [[]] text";

pub const SOURCES: &str =
    "./volumes/db ./volumes/db ./volumes/storage ./volumes/a_b-1 ./init.sql ./init.sql ./init.sql ./vector.yml ./vector.yml
    db-config db-config
    ./volumes/db/.. ./volumes/../.. ./volumes/ ./volumes ./volumes/. ./volumes//db ./volumes/DB ./volumes/db␣ ./.env
    ./docker-compose.yml ././init.sql ./init.sql/.. ./INIT.SQL ./.project.json ./.next/.env . .. ./ / ~ ~/x /etc ../other
    .//init.sql /var/run/docker.sock /proc/1/root other volumes/db init.sql ./volumes/é ./volumes/$$x
    /data/projects/abcdefghijklmnopqrst/volumes/db \\\\.\\pipe\\docker_engine";
pub const TARGETS: &str =
    "/var/lib/data /etc/x /a/b/c /a/b/d /e /f /g /h /run/docker.sock / relative /a/../b /a/ //a /proc /proc/sys /process /sys
    /sys/fs/cgroup /dev /dev/shm /a/./b /a\\b /.. /... /a␣b /é ·";
pub const MODES: &str = "· · · :ro :ro :rw :z :ro,Z :rshared :nocopy :ro:ro";

pub const REGISTRIES: &str = "· · · · docker.io/ index.docker.io/ registry.example.org/ registry.example.org/team/
    registry.example.org/team/ registry.example.org/team-evil/ registry.example.org:443/team/ REGISTRY.example.org/team/
    localhost:5000/ evil.example.org/ [::1]:5000/ http:// ../";
pub const REPOSITORIES: &str = "supabase/postgres supabase/postgres supabase/postgres supabase/postgres timberio/vector
    timberio/vector db db a/b library/postgres SUPABASE/postgres
    supabase//postgres team/../x x.. a__b a___b -a supabase/postgres/ deadbeef é ·";
pub const TAGS: &str = ":15.1.0.147 :15.1.0.147 :15.1.0.147 :15.1.0.147 :0.28.1-alpine :0.28.1-alpine :latest :15.1.0.1470 : ·
    :1:2 :-1 :${TAG} @sha256:12
    @sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa @md5:aa ␣";

pub const ADDRESSES: &str = "127.0.0.1: 127.0.0.1: 127.0.0.1: [127.0.0.1]: 0.0.0.0: [::]: [::1]: ::ffff:127.0.0.1: 127.0.0.2:
    127.1: 10.201.0.1: : · *: localhost:";
pub const HOST_PORTS: &str = "55000: 55000: 55000: 55000: 55000: 55000: 055000: 55001: 0: 22: 65536: 55000-55009: : ·";
pub const INSIDE_PORTS: &str = "5432 5432 5432 5432 5432 5432 22 0 5432/udp 5432/tcp 5432-5440 +5432 ·";

pub const NAMES: &str = "db vector logs.internal a 0-a a.b-c realtime-dev.supabase-realtime 127.1 0x7f000001 0x7f.1 10.201.0.1
    2130706433 ::1 -a a- a..b A a_b a.1 · é localhost host.docker.internal supamanager-bbbbbbbbbbbbbbbbbbbb-db
    supamanager-abcdefghijklmnopqrst-db supamanager-abcdefghijklmnopqrst-vector bridge host";
pub const LABELS: &str = "io.supamanager.name io.supamanager.team io.supamanager.project io.supamanager.service
    io.supamanager.installation io.supamanager.generation io.supamanager.operation io.supamanager.spec-hash io.supamanager.role
    io.supamanager. io.supamanager.A com.docker.compose.project traefik.enable ofelia.job-exec.x.command";
pub const LABEL_VALUES: &str = "abcdefghijklmnopqrst bbbbbbbbbbbbbbbbbbbb db vector x helper true ·";
pub const VARIABLES: &str = "PGHOST A _b a.b-c LD_PRELOAD A=B 1A A␣B é PG$$ privileged";
pub const PIECES: &str = "${DB_PASSWORD} ${DB_PASSWORD} $$ $$ postgres:// x @db/ ␣ = # ${OWNER_PASSWORD} ${HOME} $HOME
    ${DB_PASSWORD:-x} $ { } ${ é";

pub const LOG_OPTIONS: &str = "fluentd-address fluentd-address fluentd-async cache-max-size cache-max-file max-size max-file tag
    fluentd-buffer-limit fluentd-retry-wait fluentd-max-retries fluentd-sub-second-precision cache-compress
    compress env labels mode cache-disabled syslog-address";
pub const LOG_VALUES: &str = "10.201.0.30:24224 tcp://10.201.0.30:24224 udp://10.201.0.30:24224 10.201.0.30:0 10.201.0.1:24224
    unix:///var/run/docker.sock true false 10m 100m 101m 10g +5m -5m 3 10 11 0 -1 1048576 1048577 1s 500ms -1s s 0s 1h1s ..s
    {{.ID}} {{.DaemonName}} db ·";

pub const WAITS: &str = "1s 500ms 60s -1s -1ms 0s s ms ..s 1h1s 1us 999999s +1s -9e9s ·";
pub const DURATIONS: &str = "5s 1m30s 500ms 100ms 99ms 0s 1h 2h 300s 301s 24h 25h -5s 5 5d 1s1m s ·";
pub const SIGNALS: &str = "SIGINT SIGKILL SIGRTMIN+3 15 64 65 0 -1 +9 SIG kill SIGKILL;x ·";
pub const USERS: &str = "root 0 65521:65521 postgres:postgres a:b:c a␣b :1 1: ../x ·";
pub const DEVICES: &str = "/data/projects/abcdefghijklmnopqrst/volumes/db-config /data/projects/abcdefghijklmnopqrst/volumes/x
    /data/projects/bbbbbbbbbbbbbbbbbbbb/volumes/x /data/projects/abcdefghijklmnopqrst/volumes/../../x
    /data/projects/abcdefghijklmnopqrst/volumes/a/b /data/projects/abcdefghijklmnopqrst//volumes/x
    /data/projects/abcdefghijklmnopqrst2/volumes/x /data/projects/abcdefghijklmnopqrst/volumes volumes/x / /root ·";
pub const SUBNETS: &str = "10.201.0.0/27 10.201.0.0/28 10.201.0.1 10.201.0.30 10.201.0.29 10.202.0.30 0.0.0.0/0 172.17.0.0/16
    fd00::/64 ·";

pub fn words(pool: &'static str) -> Vec<String> {
    let word = |word: &str| if word == "·" { String::new() } else { word.replace('␣', " ") };
    pool.split([' ', '\n']).filter(|text| !text.is_empty()).map(word).collect()
}

pub fn one(pool: &'static str) -> Select<String> {
    select(words(pool))
}

/// One word of each pool, side by side.
pub fn joined(pools: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    pools.iter().map(|pool| one(pool)).collect::<Vec<_>>().prop_map(|words| words.concat())
}

/// Some words of one pool, side by side.
pub fn run_of(pool: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(one(pool), 0..8).prop_map(|words| words.concat())
}

/// Any characters at all, or one of them very often.
pub fn noise() -> impl Strategy<Value = String> {
    let any_text = prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter);
    let long = (any::<char>(), 1_usize..40_000).prop_map(|(letter, times)| String::from(letter).repeat(times));
    prop_oneof![4 => any_text, 1 => long]
}
