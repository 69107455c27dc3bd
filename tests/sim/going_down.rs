//! Containers that go down, and what it takes to bring them back. An engine that is killed in the midst of a start leaves a
//! task that keeps its container from ever starting again; it does not start again what it had just started, or takes it back
//! without its network.

use std::time::Duration;

use supamanager::domain::{ProjectRef, ProjectStatus};
use supamanager_tests::fake::{Container, FakeEngine, State};

use crate::stand::{Life, Stand};

/// Kills the engine while it starts containers; returns theirs.
async fn killed_in_a_start(engine: &FakeEngine) -> Vec<String> {
    loop {
        let starting: Vec<String> = engine.look().starting.iter().cloned().collect();
        if !starting.is_empty() {
            engine.restart(Duration::from_secs(20));
            return starting;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Does it in a life with a project whose create has just begun.
fn while_created(work: impl AsyncFnOnce(&Life, &FakeEngine, &ProjectRef)) {
    // Three looks that agree take half of the minute after which a service that hangs is restarted.
    let mut stand = Stand::with(0, |config| config.limits.probe_interval_s = 10);
    let engine = stand.engine.clone();
    stand.lived(async |life| {
        life.ready().await;
        let created = life.create("going down").await.expect("a create").project;
        work(&life, &engine, &created).await;
    });
}

fn runs(container: &Container) -> bool {
    matches!(container.state, State::Running { .. })
}

fn ids(engine: &FakeEngine, is: impl Fn(&Container) -> bool) -> Vec<String> {
    engine.look().containers.values().filter(|found| is(found)).map(|found| found.id.clone()).collect()
}

fn count(engine: &FakeEngine, is: impl Fn(&Container) -> bool) -> usize {
    ids(engine, is).len()
}

#[test]
fn what_a_killed_engine_does_not_start_again_is_started() {
    while_created(async |life, engine, created| {
        engine.look().manners.rates.forgotten = 1000;
        for many in 1..=3 {
            while count(engine, runs) < many {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            engine.restart(Duration::from_secs(20));
            assert_eq!(count(engine, runs), 0);
        }
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        assert_eq!(count(engine, runs), 3);
    });
}

#[test]
fn what_runs_without_its_network_is_made_again_or_restarted() {
    let cut_off = |found: &Container| found.cut_off;
    while_created(async |life, engine, created| {
        while count(engine, runs) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.look().manners.rates.cut_off = 1000;
        engine.restart(Duration::from_secs(20));
        engine.look().manners.rates.cut_off = 0;
        assert_eq!(count(engine, cut_off), 2);
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        assert_eq!((count(engine, cut_off), count(engine, runs)), (0, 3));

        engine.look().manners.rates.cut_off = 1000;
        engine.restart(Duration::from_secs(20));
        assert_eq!(count(engine, cut_off), 3);
        life.settled(created, ProjectStatus::ActiveUnhealthy).await;
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        assert_eq!((count(engine, cut_off), count(engine, runs)), (0, 3));
    });
}

#[test]
fn what_somebody_stops_or_removes_while_it_is_waited_for_comes_back() {
    while_created(async |life, engine, created| {
        let (mut stopped, mut removed) = (false, false);
        while !(stopped && removed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match ids(engine, runs).as_slice() {
                [first] if !stopped => {
                    engine.by_hand(first, false);
                    stopped = true;
                }
                [_, .., last] if stopped => {
                    engine.look().containers.remove(last);
                    removed = true;
                }
                _ => {}
            }
        }
        assert_ne!(life.project(created).await.status, ProjectStatus::ActiveHealthy);
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        assert_eq!(count(engine, runs), 3);
    });
}

#[test]
fn what_a_killed_engine_left_half_started_is_made_again() {
    let any = |_: &Container| true;
    while_created(async |life, engine, created| {
        for _ in 0..2 {
            let left = killed_in_a_start(engine).await;
            assert!(left.iter().all(|id| engine.look().containers[id].task_left), "they can be started: {left:?}");
        }
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        assert_eq!(count(engine, |found| found.task_left), 0);

        let before = ids(engine, any);
        life.lifecycle.pause(&life.project(created).await, "test").await.expect("a pause");
        life.settled(created, ProjectStatus::Paused).await;
        life.lifecycle.resume(&life.project(created).await, "test").await.expect("a resume");
        let left = killed_in_a_start(engine).await;
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        let now = ids(engine, any);
        assert!(left.iter().all(|id| before.contains(id) && !now.contains(id)), "{left:?} of {before:?}, now {now:?}");
        assert_eq!(before.len(), now.len());
    });
}

/// The first in the order is restarted; what waited for it comes back by itself, and is given the time to.
#[test]
fn what_hung_with_another_service_is_not_restarted_as_well() {
    while_created(async |life, engine, created| {
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        let of = |service: &str| {
            let world = engine.look();
            let is = |found: &&Container| found.name.ends_with(&format!("-{service}"));
            world.containers.values().find(is).cloned().expect("a container")
        };
        let freeze = |id: &str, frozen| engine.look().containers.get_mut(id).expect("it is there").frozen = frozen;
        let (db, api) = (of("db"), of("api"));
        freeze(&db.id, true);
        freeze(&api.id, true);
        while of("db").frozen {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(25)).await;
        freeze(&api.id, false);
        life.settled(created, ProjectStatus::ActiveHealthy).await;
        assert_eq!((of("api").id, of("api").state), (api.id, api.state), "it runs as it ran");
        assert_ne!(of("db").state, db.state);
    });
}
