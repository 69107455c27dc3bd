//! What a rendered stack may ask of the engine: each rule with a stack that differs from a good one in one place.

#[path = "fixtures/fenced.rs"]
mod fenced;

use supamanager::domain::ServiceName;
use supamanager::stack::{MountSource, compose, fence};

use fenced::{GOOD, rules};

/// The good stack with one text put in the place of another.
fn changed(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the fixture does not hold {from:?}");
    GOOD.replacen(from, to, 1)
}

/// What the fence says about a changed stack: `rule path` of each violation.
fn violations(from: &str, to: &str) -> Vec<String> {
    let stack = compose::parse(&changed(from, to)).unwrap_or_else(|error| panic!("{to:?}: {error}"));
    match fence::check(stack, &rules()) {
        Ok(_) => Vec::new(),
        Err(found) => found.into_iter().map(|v| format!("{} {}", v.rule, v.path)).collect(),
    }
}

#[track_caller]
fn refused(from: &str, to: &str, violation: &str) {
    assert_eq!(violations(from, to), [violation], "{from:?} -> {to:?}");
}

#[track_caller]
fn accepted(from: &str, to: &str) {
    assert_eq!(violations(from, to), [""; 0], "{from:?} -> {to:?}");
}

/// What never reaches the fence: the reader's error must hold `words`.
#[track_caller]
fn unreadable(from: &str, to: &str, words: &str) {
    let error = compose::parse(&changed(from, to)).expect_err(to).to_string();
    assert!(error.contains(words), "{to:?} answered {error:?}");
}

#[test]
fn a_good_stack_passes_and_its_devices_become_relative() {
    let stack = fence::check(compose::parse(GOOD).unwrap(), &rules()).unwrap();
    assert_eq!(stack.volumes["db-config"].folder, "volumes/db-config");
    let db = &stack.services[&ServiceName::parse("db").unwrap()];
    assert_eq!(db.labels["io.supamanager.name"], "Café $5 #1");
    assert_eq!(db.environment["DSN"], "postgres://a:${DB_PASSWORD}@db/x?cost=$$5");
    assert_eq!(db.environment["PGPORT"], "5432");
    assert_eq!(db.stop_grace_s, Some(90));
    assert_eq!(db.mounts[0].source, MountSource::Folder("volumes/db".into()));
    assert!(db.init);
}

#[test]
fn a_key_that_nobody_knows_is_an_error_that_names_it() {
    for key in [
        "privileged: true",
        "privileged: \"${X}\"",
        "cap_add: [ALL]",
        "devices: [\"/dev/sda\"]",
        "network_mode: host",
        "pid: host",
        "ipc: host",
        "userns_mode: host",
        "security_opt: [\"seccomp:unconfined\"]",
        "volumes_from: [\"x\"]",
        "env_file: .env",
        "extends: {service: x}",
        "build: .",
        "cgroup_parent: x",
        "sysctls: {a: b}",
        "extra_hosts: [\"a:1.2.3.4\"]",
        "configs: []",
        "secrets: []",
        "tmpfs: /x",
        "runtime: x",
        "deploy: {}",
        "expose: [\"1\"]",
        "links: [x]",
        "dns: 1.1.1.1",
        "external_links: [x]",
        "group_add: [docker]",
        "device_cgroup_rules: []",
        "x-anything: 1",
        "pull_policy: always",
    ] {
        let name = key.split(':').next().unwrap();
        unreadable("    init: true\n", &format!("    {key}\n"), &format!("`services.db.{name}` is not a key"));
    }
    unreadable("networks:\n  default:\n    name", "include: [x]\nnetworks:\n  default:\n    name", "`include` is not a key");
    unreadable("    driver: bridge", "    external: true", "`networks.default.external` is not a key");
    unreadable("    driver: bridge", "    driver_opts: {x: y}", "`networks.default.driver_opts` is not a key");
    unreadable(
        "networks:\n  default:\n    name",
        "networks:\n  other: {external: true}\n  default:\n    name",
        "`networks.other` is not a key",
    );
    unreadable(
        "      default:\n        aliases: [\"vector\"]",
        "      other: {}\n      default:\n        aliases: [\"vector\"]",
        "networks.other` is not a key",
    );
    unreadable("    init: true\n", "    init: true\n    user: x\n", "the key `user` twice");
}

#[test]
fn what_is_not_a_choice_must_be_written_as_it_is() {
    unreadable("restart: unless-stopped", "restart: always", "only `unless-stopped`");
    unreadable("    restart: unless-stopped\n", "", "lacks `restart`");
    unreadable("driver: bridge", "driver: macvlan", "only `bridge`");
    unreadable("      o: bind", "      o: \"bind,suid\"", "only `bind`");
    unreadable("      type: none", "      type: nfs", "only `none`");
    unreadable("    driver: local\n    driver_opts", "    driver: sshfs\n    driver_opts", "only `local`");
    unreadable("service_healthy", "service_completed_successfully", "service_started or service_healthy");
    unreadable(
        "          ip_range: 10.201.0.0/28",
        "          ip_range: 10.201.0.0/28\n        - subnet: 10.0.0.0/8",
        "exactly one item",
    );
}

#[test]
fn references_are_for_environment_only_and_have_one_form() {
    unreadable("supabase/postgres:15.1.0.147", "\"${IMAGE}\"", "services.db.image");
    unreadable("[\"CMD\", \"pg_isready\"]", "[\"CMD-SHELL\", \"echo $HOME\"]", "holds a `$`");
    unreadable("\"127.0.0.1:55000:5432\"", "\"${IP:-0.0.0.0}:55000:5432\"", "holds a `$`");
    unreadable("io.supamanager.name: \"Café $$5 #1\"", "io.supamanager.name: \"$HOME\"", "holds a `$`");
    unreadable("tag: db", "tag: \"${DB_PASSWORD}\"", "holds a `$`");
    for bad in ["$DB_PASSWORD", "${DB_PASSWORD:-x}", "${db}", "a$b"] {
        unreadable("PGPASSWORD: ${DB_PASSWORD}", &format!("PGPASSWORD: \"{bad}\""), "neither `${NAME}` nor `$$`");
    }
    unreadable("PGPORT: 5432", "PGPORT: true", "quote it");
    unreadable("PGPORT: 5432", "PGPORT: 1.10", "quote it");
    unreadable("PGPORT: 5432", "PGPORT: ~", "quote it");
    unreadable("PGPORT: 5432", "PGPORT: 0o17", "quote it");
    unreadable("PGPORT: 5432", "PGPORT: \"a\\0b\"", "control character");
    unreadable("      PGPORT: 5432", "      \"A=B\": x", "`=` in its name");
}

#[test]
fn names_are_the_hosts_to_give() {
    refused("name: abcdefghijklmnopqrst\nservices", "name: bbbbbbbbbbbbbbbbbbbb\nservices", "project_name name");
    let own = "container_name: supamanager-abcdefghijklmnopqrst-db";
    for other in ["supamanager-bbbbbbbbbbbbbbbbbbbb-db", "supamanager-abcdefghijklmnopqrst-vector", "postgres"] {
        refused(own, &format!("container_name: {other}"), "container_name services.db.container_name");
    }
    refused("    name: supamanager-abcdefghijklmnopqrst\n", "    name: bridge\n", "network_name networks.default.name");
    refused("-db-config\n    driver", "-db-config-x\n    driver", "volume_name volumes.db-config.name");
    refused("name: supamanager-abcdefghijklmnopqrst-db-config", "name: neighbour", "volume_name volumes.db-config.name");
    for bad in ["-db", "d_b", "db.", "127.1", "DB"] {
        refused("hostname: db", &format!("hostname: \"{bad}\""), "hostname services.db.hostname");
    }
}

#[test]
fn an_alias_is_a_name_and_no_address() {
    for bad in ["10.201.0.1", "::1", "127.1", "2130706433", "a_b", "-a", "A", "a..b", ""] {
        refused("[\"vector\"]", &format!("[\"{bad}\"]"), "alias services.vector.networks.default.aliases[0]");
    }
    accepted("[\"vector\"]", "[\"vector\", \"logs.internal\"]");
    accepted("      default:\n        aliases: [\"db\", \"realtime-dev.supabase-realtime\"]", "      default:");
}

#[test]
fn only_declared_services_and_dependencies() {
    let found = violations("\n  vector:\n", "\n  miner:\n");
    assert!(found.contains(&"unknown_service services.miner".to_owned()), "{found:?}");
    refused("      db: { condition", "      kong: { condition", "dependency services.vector.depends_on.kong");
    refused("      db: { condition", "      vector: { condition", "dependency services.vector.depends_on.vector");
}

#[test]
fn labels_of_the_host_and_of_other_programs_are_refused() {
    let name = "io.supamanager.name: \"Café $$5 #1\"";
    for key in [
        "io.supamanager.installation",
        "io.supamanager.generation",
        "io.supamanager.operation",
        "io.supamanager.spec-hash",
        "io.supamanager.role",
        "com.docker.compose.project",
        "com.docker.swarm.task",
        "traefik.enable",
        "ofelia.job-exec.x.command",
        "io.supamanager.",
        "io.supamanager.A",
        "IO.SUPAMANAGER.NAME",
        "io.supamanager.name ",
    ] {
        refused(name, &format!("\"{key}\": x"), &format!("label services.db.labels.{key}"));
    }
    refused(
        "project: abcdefghijklmnopqrst\n      io",
        "project: bbbbbbbbbbbbbbbbbbbb\n      io",
        "label services.db.labels.io.supamanager.project",
    );
    refused("io.supamanager.service: db", "io.supamanager.service: kong", "label services.db.labels.io.supamanager.service");
    refused(
        "    labels:\n      io.supamanager.project: abcdefghijklmnopqrst\nvolumes",
        "    labels:\n      io.supamanager.service: db\nvolumes",
        "label networks.default.labels.io.supamanager.service",
    );
    refused(
        "    driver: local\n    driver_opts",
        "    labels: {com.docker.compose.volume: x}\n    driver: local\n    driver_opts",
        "label volumes.db-config.labels.com.docker.compose.volume",
    );
    accepted(name, "io.supamanager.team: \"a b\"");
}

#[test]
fn images_are_compared_as_parsed_references() {
    let image = "image: supabase/postgres:15.1.0.147";
    let digest = "a".repeat(64);
    for odd in [
        "docker.io/library/postgres",
        "supabase/postgres",
        "supabase/postgres:15.1.0.1470",
        "SUPABASE/postgres:15.1.0.147",
        "evil.example.org/supabase/postgres:15.1.0.147",
        "localhost:5000/supabase/postgres:15.1.0.147",
        "registry:5000/supabase/postgres:15.1.0.147",
        "timberio/vector:0.28.1-alpine",
        "registry.example.org/team-evil/x",
        "registry.example.org/team/../x",
        "registry.example.org:443/team/x",
        "supabase/postgres:15.1.0.147 ",
    ] {
        refused(image, &format!("image: \"{odd}\""), "image_not_allowed services.db.image");
    }
    for text in [format!("docker.io/library/x@sha256:{digest}"), format!("supabase/postgres:15.1.0.147@sha256:{digest}")] {
        refused(image, &format!("image: \"{text}\""), "image_not_allowed services.db.image");
    }
    for same in [
        "docker.io/supabase/postgres:15.1.0.147",
        "index.docker.io/supabase/postgres:15.1.0.147",
        "registry.example.org/team/db:2",
    ] {
        accepted(image, &format!("image: {same}"));
    }
}

#[test]
fn only_declared_secrets_never_the_owners_password() {
    for name in ["OWNER_PASSWORD", "HOME", "DB_PASSWORD2"] {
        refused(
            "PGPASSWORD: ${DB_PASSWORD}",
            &format!("PGPASSWORD: x${{{name}}}"),
            "undeclared_secret services.db.environment.PGPASSWORD",
        );
    }
    refused("PGPASSWORD:", "\"PG PASSWORD\":", "variable_name services.db.environment.PG PASSWORD");
}

#[test]
fn ports_are_the_reserved_ones_on_the_allowed_address() {
    let port = "\"127.0.0.1:55000:5432\"";
    refused(port, "\"0.0.0.0:55000:5432\"", "port_address services.db.ports[0]");
    refused(port, "\"[::]:55000:5432\"", "port_address services.db.ports[0]");
    refused(port, "\"127.0.0.2:55000:5432\"", "port_address services.db.ports[0]");
    refused(port, "\"127.0.0.1:55001:5432\"", "port_not_reserved services.db.ports[0]");
    refused(port, "\"127.0.0.1:55000:22\"", "port_not_reserved services.db.ports[0]");
    for bad in
        ["55000:5432", "5432", "127.0.0.1::5432", "127.0.0.1:55000-55009:5432", "127.0.0.1:55000:5432/udp", "127.0.0.1:0:5432"]
    {
        unreadable(port, &format!("\"{bad}\""), "address:host-port:container-port");
    }
    let twice = "\"127.0.0.1:55000:5432\"\n      - \"127.0.0.1:55000:5432\"";
    refused(port, twice, "duplicate services.db.ports[1]");
}

#[test]
fn subnet_and_addresses_are_the_reserved_ones() {
    let config = |field: &str| format!("subnet networks.default.ipam.config[0].{field}");
    refused("subnet: 10.201.0.0/27", "subnet: 0.0.0.0/0", &config("subnet"));
    refused("gateway: 10.201.0.1", "gateway: 10.201.0.2", &config("gateway"));
    refused("          ip_range: 10.201.0.0/28\n", "", &config("ip_range"));
    for other in ["10.201.0.29", "10.202.0.30", "127.0.0.1"] {
        let path = "fixed_address services.vector.networks.default.ipv4_address";
        refused("ipv4_address: 10.201.0.30", &format!("ipv4_address: {other}"), path);
    }
    // vector's address for db: not db's, and twice.
    let found = violations("aliases: [\"db\", \"realtime-dev.supabase-realtime\"]", "ipv4_address: 10.201.0.30");
    assert_eq!(
        found,
        ["fixed_address services.db.networks.default.ipv4_address", "duplicate services.vector.networks.default.ipv4_address",]
    );
}

#[test]
fn mounts_come_from_inside_the_folder() {
    let mount = "- ./volumes/db:/var/lib/postgresql/data";
    for source in [
        "/",
        "/root",
        "/var/run/docker.sock",
        "../other",
        "./volumes/../../../etc",
        "./volumes/db/..",
        "./volumes/db/sub",
        "./volumes",
        "./volumes/",
        "./volumes/.",
        "./",
        "..",
        ".",
        "~",
        "~/x",
        "./.env",
        "./docker-compose.yml",
        "./unknown.yml",
        "././init.sql",
        "./volumes//db",
        "./volumes/DB",
        "/data/projects/abcdefghijklmnopqrst/volumes/db",
        "./init.sql/..",
    ] {
        refused(mount, &format!("- \"{source}:/x:ro\""), "bind_outside_folder services.db.volumes[0]");
    }
    refused("/etc/postgresql.schema.sql:ro", "/etc/postgresql.schema.sql", "writable_file services.db.volumes[2]");
    refused("- db-config:/etc", "- other:/etc", "unknown_volume services.db.volumes[1]");
    refused("- db-config:/etc", "- volumes/db:/etc", "unknown_volume services.db.volumes[1]");
    accepted(mount, "- ./volumes/storage:/var/lib/storage:ro");
    for bad in ["./volumes/db", "./volumes/db:/x:z", "./volumes/db:/x:ro,Z", ":/x", "./a:/b:/c:ro", "/x"] {
        unreadable(mount, &format!("- \"{bad}\""), "source:target");
    }
    unreadable(mount, "- {type: bind, source: /, target: /x}", "must be text");
}

#[test]
fn mount_targets_are_plain_and_single() {
    let target = "/var/lib/postgresql/data";
    for bad in ["/", "relative", "/a/../b", "/a/", "//a", "/proc", "/proc/sys", "/sys/fs/cgroup", "/dev/shm", "/a/./b"] {
        refused(target, bad, "mount_target services.db.volumes[0]");
    }
    refused(target, "/etc/postgresql-custom", "mount_target services.db.volumes[1]");
    accepted(target, "/processes");
}

#[test]
fn a_volume_is_bound_inside_the_folder() {
    let device = "device: /data/projects/abcdefghijklmnopqrst/volumes/db-config";
    for other in [
        "/root",
        "/",
        "/data/projects/bbbbbbbbbbbbbbbbbbbb/volumes/db-config",
        "/data/projects/abcdefghijklmnopqrst",
        "/data/projects/abcdefghijklmnopqrst/volumes",
        "/data/projects/abcdefghijklmnopqrst/volumes/../../x",
        "volumes/db-config",
        "/data/projects/abcdefghijklmnopqrst/volumes/a/b",
        "/data/projects/abcdefghijklmnopqrst2/volumes/x",
        "/data/projects/abcdefghijklmnopqrst//volumes/x",
    ] {
        refused(device, &format!("device: {other}"), "volume_device volumes.db-config.driver_opts.device");
    }
}

#[test]
fn logs_are_bounded_and_stay_in_the_project() {
    let option = |name: &str| format!("log_driver services.db.logging.options.{name}");
    for other in [
        "10.201.0.1:24224",
        "127.0.0.1:24224",
        "logs.example.org:24224",
        "unix:///var/run/docker.sock",
        "10.201.0.30",
        "10.201.0.30:0",
        "",
    ] {
        refused("\"10.201.0.30:24224\"", &format!("\"{other}\""), &option("fluentd-address"));
    }
    refused("fluentd-async: \"true\"", "fluentd-async: \"false\"", &option("fluentd-async"));
    refused("        fluentd-async: \"true\"\n", "", &option("fluentd-async"));
    refused("        cache-max-size: 10m\n", "", &option("cache-max-size"));
    refused("        cache-max-file: \"3\"\n", "", &option("cache-max-file"));
    refused("        cache-max-size: 10m\n", "        cache-max-size: 10g\n", &option("cache-max-size"));
    refused("cache-max-file: \"3\"", "cache-max-file: \"0\"", &option("cache-max-file"));
    refused("tag: db", "tag: \"{{.DaemonName}}\"", &option("tag"));
    refused("tag: db", "env: PGPASSWORD", &option("env"));
    refused("tag: db", "cache-disabled: \"true\"", &option("cache-disabled"));
    refused("        max-size: 10m\n", "", "log_driver services.vector.logging.options.max-size");
    refused("        max-size: 10m\n", "        max-size: \"-1\"\n", "log_driver services.vector.logging.options.max-size");
    for driver in ["syslog", "none", "awslogs", "journald", "gelf"] {
        refused("driver: fluentd", &format!("driver: {driver}"), "log_driver services.db.logging.driver");
    }
    unreadable("      driver: fluentd\n", "", "lacks `driver`");
    accepted("tag: db", "fluentd-sub-second-precision: \"true\"");
    accepted("\"10.201.0.30:24224\"", "\"tcp://10.201.0.30:24224\"");
}

#[test]
fn limits_are_set_and_sane() {
    for bad in ["0", "-1", "4097"] {
        refused("pids_limit: 1024", &format!("pids_limit: {bad}"), "pids_limit services.db.pids_limit");
    }
    refused("    pids_limit: 1024\n", "", "pids_limit services.db.pids_limit");
    refused("soft: 1024", "soft: 20000", "open_files services.db.ulimits.nofile");
    refused("soft: 1024", "soft: -1", "open_files services.db.ulimits.nofile");
    refused("hard: 16384", "hard: 1048577", "open_files services.db.ulimits.nofile");
    unreadable("      nofile:", "      memlock:", "services.db.ulimits.memlock");
    refused("stop_grace_period: 1m30s", "stop_grace_period: 301s", "stop_grace services.db.stop_grace_period");
    refused("[\"postgres\", \"-c\", \"log_min_messages=fatal\"]", "[]", "arguments services.db.command");
}

#[test]
fn user_signal_and_check_have_one_form() {
    for good in ["root", "0", "65521:65521", "postgres:postgres"] {
        accepted("user: root", &format!("user: \"{good}\""));
    }
    for bad in ["", "a:b:c", "a b", ":1", "1:"] {
        refused("user: root", &format!("user: \"{bad}\""), "user services.db.user");
    }
    for bad in ["SIG", "kill", "0", "65", "SIGKILL;x"] {
        refused("stop_signal: SIGINT", &format!("stop_signal: \"{bad}\""), "stop_signal services.db.stop_signal");
    }
    accepted("stop_signal: SIGINT", "stop_signal: \"15\"");
    let check = |field: &str| format!("healthcheck services.db.healthcheck.{field}");
    let test = "[\"CMD\", \"pg_isready\"]";
    for bad in ["[]", "[\"CMD\"]", "[\"pg_isready\"]", "[\"NONE\", \"x\"]", "[\"CMD-SHELL\", \"a\", \"b\"]"] {
        refused(test, bad, &check("test"));
    }
    accepted(test, "[\"NONE\"]");
    refused("interval: 5s", "interval: 999ms", &check("interval"));
    refused("timeout: 5s", "timeout: 0s", &check("timeout"));
    refused("retries: 10", "retries: 0", &check("retries"));
    refused("start_period: 120s", "start_period: 2h", &check("start_period"));
    unreadable("interval: 5s", "interval: 5", "write a duration");
}

#[test]
fn every_violation_is_told_at_once_with_a_way_out() {
    let text = changed("pids_limit: 1024", "pids_limit: 0").replace("127.0.0.1:55000", "0.0.0.0:55000");
    let found = fence::check(compose::parse(&text).unwrap(), &rules()).unwrap_err();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|violation| violation.message.len() > 20));
}
