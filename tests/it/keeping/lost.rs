//! What the store does not know and the machine has: a project that an older copy of the store has lost, adopted and
//! purged; and containers that somebody's Compose has made in a project's folder.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{fine, ran, refused};
use crate::world::{Daemon, Options, root, scratch};

const MINUTE: Duration = Duration::from_secs(60);

/// Containers of a project by name and id, whatever runs in them.
fn containers_of(daemon: &Daemon, id: &str) -> String {
    let label = format!("label=io.supamanager.project={id}");
    daemon.engine.docker(&["ps", "-a", "--no-trunc", "--filter", &label, "--format", "{{.Names}} {{.ID}}"])
}

/// What a user has of a project.
async fn used(daemon: &Daemon, id: &str) -> (Value, Value, Value, String) {
    let project = daemon.api.project(id).await;
    let credentials = daemon.api.get(&format!("/platform/projects/{id}/credentials")).await.body;
    (project["name"].clone(), project["endpoint"].clone(), credentials, containers_of(daemon, id))
}

fn folder(daemon: &Daemon, id: &str) -> PathBuf {
    daemon.data.join("projects").join(id)
}

/// Waits until the folder tells of the project; it is told a moment after the project is active.
async fn told(daemon: &Daemon, id: &str) {
    let begun = Instant::now();
    while !folder(daemon, id).join(".project.json").exists() {
        assert!(begun.elapsed() < MINUTE, "{id} has no descriptor\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The store as it was when it was copied, under the folders and the engine of now.
async fn put_back(daemon: &mut Daemon, copy: &str, aside: &Path) {
    daemon.kill();
    for name in ["supamanager.db", "supamanager.db-wal", "supamanager.db-shm", "installation"] {
        let _ = std::fs::remove_file(daemon.data.join(name));
    }
    let log = daemon.data.join("daemon.log");
    std::fs::rename(&log, aside.join("daemon.log")).expect("moved");
    fine(ran(daemon, &["store", "restore", copy], &[]));
    std::fs::rename(aside.join("daemon.log"), &log).expect("moved back");
    daemon.revive().await;
}

#[tokio::test]
async fn a_project_that_a_restored_store_has_lost_is_listed_adopted_and_purged() {
    let mut daemon = Daemon::ready("lost", Options::tiny().expecting("the store does not know")).await;
    let kept = daemon.api.healthy(json!({"name": "kept"})).await["id"].as_str().expect("an id").to_owned();
    let aside = scratch("lost-out");
    std::fs::create_dir_all(&aside).expect("made");
    let copy = aside.join("store").display().to_string();
    fine(ran(&daemon, &["store", "backup", &copy], &[]));
    let lost = daemon.api.healthy(json!({"name": "made later"})).await["id"].as_str().expect("an id").to_owned();
    let words = json!({"service": "back", "argv": ["sh", "-c", "echo of the user >/var/lib/back/words"]});
    let wrote = daemon.api.post(&format!("/platform/projects/{lost}/exec"), words).await;
    assert_eq!((wrote.status, &wrote.body["exit_code"]), (200, &json!(0)), "{}", wrote.body);
    told(&daemon, &lost).await;
    let descriptor = folder(&daemon, &lost).join(".project.json");
    let text = std::fs::read_to_string(&descriptor).expect("a descriptor");
    assert_eq!(descriptor.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let (before, of_kept) = (used(&daemon, &lost).await, used(&daemon, &kept).await);
    for key in before.2["api_keys"].as_object().expect("keys").values() {
        assert!(!text.contains(key.as_str().expect("a key")), "a secret is in clear");
    }
    let data = folder(&daemon, &lost).join("volumes/back/words");

    put_back(&mut daemon, &copy, &aside).await;
    assert_eq!(daemon.api.get(&format!("/platform/projects/{lost}")).await.status, 404);
    // Rounds go by: every event of the engine is one, and longer than the reaper's grace.
    for verb in [("pause", "PAUSED"), ("resume", "ACTIVE_HEALTHY")] {
        let answer = daemon.api.post(&format!("/platform/projects/{kept}/{}", verb.0), json!({})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        daemon.api.settled(&kept, &[verb.1], MINUTE).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    assert_eq!(containers_of(&daemon, &lost), before.3, "nothing of it was touched");
    let listed = daemon.api.get("/platform/lost-projects").await.body;
    let projects = listed["projects"].as_array().expect("projects");
    let [one] = projects.as_slice() else { panic!("{listed:#}") };
    assert_eq!((&one["id"], &one["name"], &one["adoptable"]), (&json!(lost), &json!("made later"), &json!(true)), "{one:#}");
    assert_eq!((one["containers"].as_array().map(Vec::len), &one["folder"]), (Some(2), &json!(true)), "{one:#}");
    assert_eq!(one["containers"][0]["state"], "running", "{one:#}");
    let text = daemon.command(&["project", "lost"]);
    assert!(text.contains(&format!("supamanager project adopt {lost}")) && !text.contains(&kept), "{text}");
    let not_lost = refused(ran(&daemon, &["project", "adopt", &kept], &[]));
    assert!(not_lost.contains("not lost"), "{not_lost}");
    let nobody = daemon.api.post(&format!("/platform/lost-projects/{}/adopt", "q".repeat(20)), json!({})).await;
    assert_eq!(nobody.status, 404, "{}", nobody.body);

    let text = daemon.command(&["project", "adopt", &lost]);
    assert!(text.contains("made later"), "{text}");
    daemon.api.settled(&lost, &["ACTIVE_HEALTHY"], MINUTE).await;
    assert_eq!(used(&daemon, &lost).await, before);
    assert_eq!(std::fs::read_to_string(&data).expect("its data"), "of the user\n");
    assert_eq!(daemon.api.get("/platform/lost-projects").await.body["projects"], json!([]));
    for verb in [("pause", "PAUSED"), ("resume", "ACTIVE_HEALTHY")] {
        let answer = daemon.api.post(&format!("/platform/projects/{lost}/{}", verb.0), json!({})).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        daemon.api.settled(&lost, &[verb.1], MINUTE).await;
    }
    assert_eq!(used(&daemon, &lost).await, before, "its containers are those that its record describes");

    put_back(&mut daemon, &copy, &aside).await;
    let path = format!("/platform/lost-projects/{lost}");
    for body in [json!({}), json!({"confirm": kept})] {
        let answer = daemon.api.call(reqwest::Method::DELETE, &path, Some(body), &[]).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (428, Some("confirm")), "{}", answer.body);
    }
    let usage = refused(ran(&daemon, &["project", "purge", &lost], &[]));
    assert!(usage.contains("--yes-delete-everything-of"), "{usage}");
    assert_eq!(containers_of(&daemon, &lost), before.3);
    let text = daemon.command(&["project", "purge", &lost, "--yes-delete-everything-of", &lost]);
    assert!(text.contains("DELETED"), "{text}");
    assert_eq!(daemon.engine.labelled(&format!("io.supamanager.project={lost}")), Vec::<String>::new());
    assert!(!folder(&daemon, &lost).exists(), "its folder is still there");
    assert_eq!(daemon.api.project(&lost).await["status"], "DELETED", "a tombstone");
    assert_eq!(used(&daemon, &kept).await, of_kept, "the other one was not touched");
    daemon.api.settled(&kept, &["ACTIVE_HEALTHY"], MINUTE).await;
    daemon.api.gone(&kept).await;
    std::fs::remove_dir_all(&aside).expect("the folder goes");
    daemon.finish();
}

#[tokio::test]
async fn what_compose_made_in_the_folder_is_made_again_as_ours() {
    let mut daemon = Daemon::ready("composed", Options::tiny()).await;
    let id = daemon.api.healthy(json!({"name": "composed"})).await["id"].as_str().expect("an id").to_owned();
    let found = Command::new("sh").arg(root().join("tests/setup/compose.sh")).output().expect("sh");
    let compose = String::from_utf8(found.stdout).expect("text").lines().last().expect("a path").to_owned();
    let ours = format!("io.supamanager.installation={}", daemon.installation());
    // With the network ours, and after a `down`, which takes that as well. The daemon looks afterwards: what both do at the
    // same time is for neither to foresee.
    for commands in [&["up"][..], &["down", "up"]] {
        daemon.stop();
        for command in commands {
            let flags: &[&str] = if *command == "up" { &["-d"] } else { &["-t", "1"] };
            let mut run = Command::new(&compose);
            let output = run.args(["-p", &id, command]).args(flags).current_dir(folder(&daemon, &id)).output().expect("compose");
            assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let own = daemon.engine.labelled(&ours);
        assert!(!own.iter().any(|object| object.starts_with("container")), "Compose made them: {own:?}");
        daemon.revive().await;
        let begun = Instant::now();
        loop {
            let (all, own) = (containers_of(&daemon, &id), daemon.engine.labelled(&ours));
            let whole = own.iter().filter(|object| object.starts_with("container")).count() == 2
                && own.iter().any(|object| object.starts_with("network"));
            if whole && all.lines().count() == 2 && daemon.api.project(&id).await["status"] == "ACTIVE_HEALTHY" {
                break;
            }
            assert!(begun.elapsed() < 3 * MINUTE, "{commands:?}: {all}\n{own:?}\n{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    daemon.api.gone(&id).await;
    daemon.finish();
}
