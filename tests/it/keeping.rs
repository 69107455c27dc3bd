//! What an operator does for the long run, with the real binary: another master key, a copy of the store, and back.

mod lost;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Daemon, Options};

fn ran(daemon: &Daemon, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = daemon.binary();
    command.args(arguments).stdin(Stdio::null()).envs(environment.iter().copied());
    command.output().expect("the binary")
}

fn fine(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn refused(output: Output) -> String {
    assert!(!output.status.success(), "it must be refused: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("text")
}

/// The containers of the daemon, by name and id.
fn containers(daemon: &Daemon) -> String {
    let label = format!("label=io.supamanager.installation={}", daemon.installation());
    daemon.engine.docker(&["ps", "-a", "--no-trunc", "--filter", &label, "--format", "{{.Names}} {{.ID}}"])
}

#[tokio::test]
async fn the_master_key_changes_though_killed_and_no_container_is_made_anew() {
    let mut daemon = Daemon::ready("rotate", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "rotate"})).await;
    let id = project["id"].as_str().expect("an id").to_owned();
    let path = format!("/platform/projects/{id}/credentials");
    let (credentials, before) = (daemon.api.get(&path).await.body, containers(&daemon));
    let message = refused(ran(&daemon, &["secrets", "rotate-master"], &[]));
    assert!(message.contains("another daemon works on"), "{message}");
    daemon.stop();

    for place in ["rotate-master.rows.before_intent", "rotate-master.rows.after_effect", "rotate-master.old-key.after_effect"] {
        let mut command = daemon.binary();
        command.args(["secrets", "rotate-master"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.env("SUPAMANAGER_FAILPOINT", place).spawn().expect("the binary");
        let marker = daemon.data.join("failpoint");
        let begun = Instant::now();
        while std::fs::read_to_string(&marker).ok().as_deref() != Some(place) {
            assert!(begun.elapsed().as_secs() < 60, "{place} was not hit");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().expect("killed");
        child.wait().expect("reaped");
        std::fs::remove_file(&marker).expect("the marker");
        daemon.revive().await;
        assert_eq!(daemon.api.get(&path).await.body, credentials, "killed at {place}");
        daemon.stop();
    }

    let text = fine(ran(&daemon, &["secrets", "rotate-master"], &[("SUPAMANAGER_NEW_ENCRYPTION_SECRET", &"n".repeat(40))]));
    assert!(text.contains("secrets went from key"), "{text}");
    let message = refused(ran(&daemon, &["token", "create", "--name", "x"], &[]));
    assert!(message.contains("ENCRYPTION_SECRET"), "{message}");
    let old = ("ENCRYPTION_SECRET", "n".repeat(40));
    let text = fine(ran(&daemon, &["secrets", "rotate-master", "--key-file"], &[(old.0, &old.1)]));
    assert!(text.contains("encryption.key"), "{text}");
    daemon.revive().await;
    assert_eq!(daemon.api.get(&path).await.body, credentials);
    for (verb, state) in [("pause", "PAUSED"), ("resume", "ACTIVE_HEALTHY")] {
        let answer = daemon.api.post(&format!("/platform/projects/{id}/{verb}"), json!({})).await;
        assert_eq!(answer.status, 202, "{verb}: {}", answer.body);
        daemon.api.settled(&id, &[state], Duration::from_secs(60)).await;
    }
    assert_eq!(containers(&daemon), before, "the hashes over their secrets are the same");
    daemon.api.gone(&id).await;
    daemon.finish();
}

#[tokio::test]
async fn a_store_that_is_lost_comes_back_from_its_copy_and_knows_its_projects() {
    let mut daemon = Daemon::ready("store-copy", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "kept"})).await;
    let id = project["id"].as_str().expect("an id").to_owned();
    let path = format!("/platform/projects/{id}/credentials");
    let (credentials, before) = (daemon.api.get(&path).await.body, containers(&daemon));
    let folder = crate::world::scratch("store-copy-out");
    std::fs::create_dir_all(&folder).expect("made");
    let (copy, key) = (folder.join("store"), folder.join("key"));
    let (copy, key) = (copy.to_str().expect("a path"), key.to_str().expect("a path"));
    let passphrase = [("SUPAMANAGER_KEY_PASSPHRASE", "a long passphrase")];
    let text = fine(ran(&daemon, &["store", "backup", copy, "--with-key", key], &passphrase));
    assert!(text.contains("sealed"), "{text}");
    let message = refused(ran(&daemon, &["store", "restore", copy], &[]));
    assert!(message.contains("another daemon works on"), "{message}");

    daemon.kill();
    let message = refused(ran(&daemon, &["store", "restore", copy], &[]));
    assert!(message.contains("a store already"), "{message}");
    for name in ["supamanager.db", "supamanager.db-wal", "supamanager.db-shm", "encryption.key", "installation"] {
        let _ = std::fs::remove_file(daemon.data.join(name));
    }
    let log = daemon.data.join("daemon.log");
    std::fs::rename(&log, folder.join("daemon.log")).expect("moved");
    let text = fine(ran(&daemon, &["store", "restore", copy, "--key", key], &passphrase));
    assert!(text.contains("start the daemon"), "{text}");
    std::fs::rename(folder.join("daemon.log"), &log).expect("moved back");

    daemon.revive().await;
    assert_eq!(daemon.api.get(&path).await.body, credentials);
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    assert_eq!(containers(&daemon), before, "the same containers, by the same labels");
    daemon.api.gone(&id).await;
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    daemon.finish();
}

#[tokio::test]
async fn doctor_says_how_many_more_fit_and_what_store_and_engine_disagree_on() {
    let mut daemon = Daemon::ready("doctor-verify", Options::tiny()).await;
    let project = daemon.api.healthy(json!({"name": "looked at"})).await;
    let id = project["id"].as_str().expect("an id").to_owned();
    let doctor = |daemon: &Daemon| -> (bool, Value) {
        let output = ran(daemon, &["doctor", "--verify", "--json"], &[]);
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.success(), report)
    };
    let (_, report) = doctor(&daemon);
    assert_eq!(report["differences"], json!([]), "{report:#}");
    let limits = report["capacity"]["limits"].as_array().expect("limits");
    let more = |name: &str| limits.iter().find(|limit| limit["name"] == name).map(|limit| limit["more"].as_u64());
    // Ten ports of this daemon's own, one of them taken; a /24 holds eight projects.
    assert_eq!((more("ports.api"), more("subnets.pool")), (Some(Some(9)), Some(Some(7))), "{limits:#?}");
    assert_eq!(report["capacity"]["stopped_by"], limits[0]["name"], "the nearest limit comes first");

    daemon.stop();
    let name = format!("supamanager-{id}-back");
    daemon.engine.docker(&["rm", "-f", &name]);
    daemon.engine.docker(&["create", "--name", &name, "supamanager-sandbox/tiny:1", "true"]);
    let (fine, report) = doctor(&daemon);
    let said = report["differences"].to_string();
    assert!(!fine && said.contains("no container for back") && said.contains("\"I3\""), "{report:#}");
    let text = String::from_utf8(ran(&daemon, &["doctor", "--verify"], &[]).stdout).expect("text");
    assert!(text.contains("BAD     I1: ") && text.contains("BAD     I3: "), "{text}");
    daemon.engine.docker(&["rm", "-f", &name]);

    daemon.revive().await;
    // The daemon makes the missing one again; while it does, the project is under way and left out.
    let begun = Instant::now();
    while doctor(&daemon).1["differences"] != json!([]) {
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not put right\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], Duration::from_secs(60)).await;
    daemon.api.gone(&id).await;
    let (_, report) = doctor(&daemon);
    assert_eq!(report["differences"], json!([]), "{report:#}");
    daemon.finish();
}
