//! Twenty small faults in a rendered stack, each in a create of its own by the daemon: every one must end FAILED.
//!
//! The daemon believes the rendered folder, so the fault is put there: every create waits at a failpoint after its
//! render step, the daemon is killed, the files are changed, and the next daemon goes on with them. In each round one
//! project's files are only written anew: it must become healthy, or the others' failures would mean nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::world::{Daemon, Options, root, run, scratch};

const MUTANTS: usize = 20;
/// Creates with a fault at once; one without comes with them. With ten, 110 containers, on two slow cores beside the kill
/// tests, the one without was not healthy within 120 s.
const ROUND: usize = 5;
const AFTER_RENDER: &str = "create.render.after_record";
/// Codes that would say nothing about the stack.
const OUR_OWN_FAULTS: [&str; 5] = ["unknown", "panic", "store", "step_timeout", "plugin_failed"];

#[tokio::test]
async fn twenty_random_faults_of_the_rendered_stack_fail_a_create() {
    let seed = std::env::var("SUPAMANAGER_TEST_SEED").unwrap_or_else(|_| "2".to_owned());
    let work = scratch("mutants");
    let range = |first: u16| format!("{first}-{}", first + ROUND as u16);
    let options = Options::default()
        .set("SUPAMANAGER_PORTS_API", range(Daemon::next_port()))
        .set("SUPAMANAGER_PORTS_DB", range(Daemon::next_port()))
        .set("SUPAMANAGER_SUBNETS_POOL", "10.214.0.0/23")
        .set("SUPAMANAGER_LIMITS_OPERATIONS", "12")
        // Six stacks begin at once beside the kill tests.
        .set("SUPAMANAGER_DEADLINES_HEALTHY_S", "120");
    let mut daemon = Daemon::ready("mutated", options).await;
    let mut faults: Vec<String> = Vec::new();
    let mut survivors = Vec::new();
    println!("\nseed {seed} (SUPAMANAGER_TEST_SEED repeats it)\n{:<72} ended", "fault");
    for round in 0..MUTANTS.div_ceil(ROUND) {
        let ids = rendered_projects(&mut daemon, ROUND + 1).await;
        let folder = |id: &str| daemon.data.join("projects").join(id);
        if faults.is_empty() {
            faults = choose(&folder(&ids[0]), &seed, &work.join("chosen"));
            assert_eq!(faults.len(), MUTANTS);
        }
        let mine = &faults[round * ROUND..(round + 1) * ROUND];
        put(&folder(&ids[0]), "nothing", &work.join(&ids[0]));
        for (id, fault) in ids[1..].iter().zip(mine) {
            put(&folder(id), fault, &work.join(id));
        }
        daemon.revive().await;
        let settled =
            join_all(ids.iter().map(|id| daemon.api.settled(id, &["ACTIVE_HEALTHY", "FAILED"], Duration::from_secs(300)))).await;
        assert_eq!(settled[0]["status"], "ACTIVE_HEALTHY", "without a fault: {:#}", settled[0]["error"]);
        for (project, fault) in settled[1..].iter().zip(mine) {
            let error = &project["error"];
            let code = error["code"].as_str().unwrap_or("healthy");
            println!("{fault:<72} {code} {}", error["message"].as_str().unwrap_or_default());
            if project["status"] != "FAILED" || OUR_OWN_FAULTS.contains(&code) {
                survivors.push(format!("{fault}: {} {error:#}", project["status"]));
            }
        }
        join_all(ids.iter().map(|id| daemon.api.gone(id))).await;
    }
    assert_eq!(survivors, Vec::<String>::new(), "a create did not notice");
    daemon.finish();
    std::fs::remove_dir_all(work).expect("the copies go");
}

/// Creates projects and kills the daemon when each has been rendered and nothing more.
async fn rendered_projects(daemon: &mut Daemon, count: usize) -> Vec<String> {
    daemon.arm(AFTER_RENDER).await;
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        let created = daemon.api.create(json!({"name": format!("mutant {number}")})).await;
        ids.push(created["id"].as_str().expect("an id").to_owned());
    }
    for id in &ids {
        daemon.api.step_is(id, "render", "succeeded", Duration::from_secs(60)).await;
    }
    daemon.killed_at(AFTER_RENDER).await;
    ids
}

/// The ids of the faults to make.
fn choose(folder: &Path, seed: &str, out: &Path) -> Vec<String> {
    let listed = run(mutate(folder).args(["--random", &MUTANTS.to_string(), "--seed", seed, "--out"]).arg(out));
    listed.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

/// Makes the fault in a project's folder, over its files, modes included.
fn put(folder: &Path, fault: &str, out: &PathBuf) {
    run(mutate(folder).args(["--apply", fault, "--out"]).arg(out));
    for entry in std::fs::read_dir(out).expect("the mutant") {
        let entry = entry.expect("an entry");
        if entry.file_name() != "mutant.json" {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
    }
}

fn mutate(folder: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").arg(root().join("tests/sandbox/mutate.py")).arg(folder);
    command
}
