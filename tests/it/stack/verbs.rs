//! Every verb on the whole stack, by both hands: over HTTP and by the command line.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::checks::Project;
use crate::world::{Daemon, Engine, Options};

const SOON: Duration = Duration::from_secs(200);

/// Who says it.
#[derive(Clone, Copy, PartialEq)]
enum Hand {
    Http,
    CommandLine,
}

impl Hand {
    /// Says a verb; `more` is what the command line has for the body.
    async fn says(self, daemon: &Daemon, id: &str, verb: &str, (body, more): (Value, &[&str])) {
        if self == Self::Http {
            let answer = daemon.api.post(&format!("/platform/projects/{id}/{verb}"), body).await;
            assert_eq!(answer.status, 202, "{verb}: {}", answer.body);
        } else {
            daemon.command(&[&["project", verb, id], more].concat());
        }
    }

    /// Says a verb and sees the project come to rest as it should.
    async fn does(self, daemon: &Daemon, id: &str, verb: &str, end: &str) {
        self.says(daemon, id, verb, (json!({}), &[])).await;
        daemon.api.settled(id, &[end], SOON).await;
    }

    /// A create that is cancelled on its way, then tried again.
    async fn creates(self, daemon: &Daemon) -> String {
        let id = match self {
            Self::Http => daemon.api.create(json!({"name": "by hand"})).await["id"].as_str().expect("an id").to_owned(),
            Self::CommandLine => {
                let said = daemon.command(&["project", "create", "by hand", "--no-wait"]);
                let is_id = |word: &&str| word.len() == 20 && word.bytes().all(|byte| byte.is_ascii_lowercase());
                said.split_whitespace().find(is_id).unwrap_or_else(|| panic!("no id: {said}")).to_owned()
            }
        };
        daemon.api.step_is(&id, "containers", "succeeded", SOON).await;
        self.does(daemon, &id, "cancel", "FAILED").await;
        assert_eq!(daemon.objects(), Vec::<String>::new(), "what was cancelled leaves nothing");
        self.does(daemon, &id, "retry", "ACTIVE_HEALTHY").await;
        id
    }

    async fn reads_and_runs(self, daemon: &Daemon, id: &str) {
        let path = format!("/platform/projects/{id}");
        let argv = ["psql", "-XAtqU", "postgres", "-c", "select 40 + 2"];
        let (logs, exec) = match self {
            Self::Http => {
                let exec = json!({"service": "db", "argv": argv});
                (
                    daemon.api.get(&format!("{path}/logs?service=db&tail=3")).await.body.as_str().unwrap_or_default().to_owned(),
                    daemon.api.post(&format!("{path}/exec"), exec).await.body["stdout"].as_str().unwrap_or_default().to_owned(),
                )
            }
            Self::CommandLine => (
                daemon.command(&["project", "logs", id, "db", "--tail", "3"]),
                daemon.command(&[&["project", "exec", id, "db", "--"][..], &argv].concat()),
            ),
        };
        assert!((1..=3).contains(&logs.lines().count()), "{logs}");
        assert_eq!(exec, "42\n");
        let begun = Instant::now();
        loop {
            let usage = match self {
                Self::Http => daemon.api.get(&format!("{path}/usage")).await.body.to_string(),
                Self::CommandLine => daemon.command(&["project", "usage", id]),
            };
            if usage.contains("realtime") {
                return;
            }
            assert!(begun.elapsed() < SOON, "no sample of any service: {usage}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// A new name and new limits: nothing is made anew.
    async fn updates(self, daemon: &Daemon, id: &str) {
        if self == Self::Http {
            let wanted = json!({"name": "renamed", "resources": {"cpu": "1.5"}});
            let answer = daemon.api.call(Method::PATCH, &format!("/platform/projects/{id}"), Some(wanted), &[]).await;
            assert!([200, 202].contains(&answer.status), "{}", answer.body);
        } else {
            daemon.command(&["project", "update", id, "--name", "renamed", "--cpu", "1.5"]);
        }
        let project = daemon.api.settled(id, &["ACTIVE_HEALTHY"], SOON).await;
        assert_eq!(project["name"], "renamed");
        let resources = daemon.api.get(&format!("/platform/projects/{id}/resources")).await.body;
        assert_eq!(resources["asked"]["cpu"], "1.5", "{resources:#}");
    }

    /// A delete that is not waited for: what is left of it goes by itself.
    async fn deletes_by_force(self, daemon: &Daemon, id: &str) {
        assert_eq!(daemon.api.delete(id).await.status, 202);
        self.does(daemon, id, "force", "DELETED").await;
        let begun = Instant::now();
        while !daemon.objects().is_empty() || daemon.data.join("projects").join(id).exists() {
            assert!(begun.elapsed() < SOON, "the reaper has left {:?}", daemon.objects());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn every_verb(hand: Hand, mark: &str) {
    let daemon = Daemon::ready(mark, Options::default().set("SUPAMANAGER_USAGE_EVERY_S", "10").expecting("ended by force")).await;
    let id = hand.creates(&daemon).await;
    let project = Project::of(&daemon, &id).await;
    project.sql("create table public.kept (id int); insert into public.kept select generate_series(1, 100)");
    hand.reads_and_runs(&daemon, &id).await;
    let made = daemon.api.project(&id).await["containers"].clone();
    hand.updates(&daemon, &id).await;
    let started = |service: &str| Engine.inspect(&format!("supamanager-{id}-{service}"))["State"]["StartedAt"].to_string();
    let before = (started("rest"), started("auth"));
    hand.says(&daemon, &id, "restart", (json!({"services": ["rest"]}), &["--service", "rest"])).await;
    daemon.api.settled(&id, &["ACTIVE_HEALTHY"], SOON).await;
    assert!(started("rest") != before.0 && started("auth") == before.1, "rest, and rest alone");
    assert_eq!(daemon.api.project(&id).await["containers"], made, "all of it is as it was made");
    hand.does(&daemon, &id, "pause", "PAUSED").await;
    hand.does(&daemon, &id, "resume", "ACTIVE_HEALTHY").await;
    assert_eq!(project.sql("select count(*) from public.kept"), "100");
    hand.deletes_by_force(&daemon, &id).await;
    daemon.finish();
}

#[tokio::test]
async fn every_verb_is_done_over_http() {
    every_verb(Hand::Http, "verbs-http").await;
}

#[tokio::test]
async fn every_verb_is_done_by_the_command_line() {
    every_verb(Hand::CommandLine, "verbs-typed").await;
}
