//! What every engine does, the fake one too. Each manner is written once and run on the fake engine and on the real
//! one that `DOCKER_HOST` names; `make test` names two of them, of two ages. So the fake stays honest.

mod composed;
mod helpers;
mod stage;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use supamanager::backend::docker::{Deadlines, DockerBackend};
use supamanager::backend::{Backend, BackendError, ContainerState, ErrorClass, Labels, NetworkSpec};
use supamanager::domain::{Bytes, Cpu, Limits, ProjectRef, ServiceName};
use supamanager::stack::{Mount, MountSource, PublishedPort, Service};
use supamanager_tests::fake::{FakeEngine, Rates};

use helpers::a_helper_that_nobody_waits_for_ends_with_the_next_one;
use stage::{Change, Kind, Stage, Wrong};

use crate::proxy::{Act, Manner, Proxy};
use crate::world::{World, model_network, with_world};

/// Whatever goes wrong with a change, it says so in a way that allows asking again, and asking again is asking once.
async fn asked_again(stage: &Stage, wrong: Wrong) {
    let service = stage.service("db", "exec sleep 600");
    let mut id = String::new();
    for change in Change::ALL {
        let (backend, _proxy) = stage.wrong(change, wrong).await;
        if let Err(error) = stage.change(change, &*backend, &service, &id).await {
            assert_eq!(error.class(), ErrorClass::Retry, "{error}");
        }
        // A late effect is waited for: asking meanwhile is another test's.
        if matches!(wrong, Wrong::Late) {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        stage.change(change, &*stage.backend, &service, &id).await.unwrap();
        if let Change::Container = change {
            id = stage.container(&*stage.backend, &service, "h1", 1).await.unwrap();
            assert_eq!(stage.counts().await, (1, 1, 1));
        }
    }
    assert_eq!(stage.counts().await, (0, 1, 1));
}

async fn a_change_whose_reply_was_lost_can_be_asked_for_again(stage: &Stage) {
    asked_again(stage, Wrong::LostReply).await;
}

async fn a_change_that_was_refused_can_be_asked_for_again(stage: &Stage) {
    asked_again(stage, Wrong::Refused).await;
}

async fn a_change_that_was_given_up_happens_later_and_once(stage: &Stage) {
    let service = stage.service("db", "exec sleep 600");
    stage.network(&*stage.backend).await.unwrap();
    let (backend, _proxy) = stage.wrong(Change::Container, Wrong::Late).await;
    // The fake's client gives up after its two minutes, the real one's deadline is set to a second here.
    let error = stage.container(&*backend, &service, "h1", 1).await;
    if let Err(error) = error {
        assert!(matches!(error, BackendError::TimedOut { .. }) && error.class() == ErrorClass::Retry, "{error}");
    }
    for _ in 0..100 {
        if stage.counts().await.0 == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.container(&*stage.backend, &service, "h1", 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.counts().await, (1, 1, 0));
}

async fn a_name_that_nothing_holds_is_free_a_moment_later(stage: &Stage) {
    let service = stage.service("db", "exec sleep 600");
    stage.network(&*stage.backend).await.unwrap();
    let (backend, _proxy): (Arc<dyn Backend>, _) = match &stage.kind {
        Kind::Fake(engine) => {
            engine.look().manners.rates = Rates { phantom_name: 1000, ..Rates::default() };
            (stage.backend.clone(), None)
        }
        Kind::Real => {
            let conflict = "Conflict. The container name is already in use by container 1f.";
            let manner = Manner { method: "POST", path: "/containers/create", times: 2, act: Act::Answer(409, conflict) };
            let proxy = Proxy::start(vec![manner]).await;
            (Arc::new(DockerBackend::connect(Some(&proxy.host)).unwrap()), Some(proxy))
        }
    };
    if let Err(error) = stage.container(&*backend, &service, "h1", 1).await {
        assert_eq!(error.class(), ErrorClass::Retry, "{error}");
    }
    if let Kind::Fake(engine) = &stage.kind {
        engine.look().manners.behave();
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    stage.container(&*stage.backend, &service, "h1", 1).await.unwrap();
    assert_eq!(stage.counts().await.0, 1);
}

async fn a_removal_in_progress_is_busy_and_ends(stage: &Stage) {
    let service = stage.service("db", "exec sleep 600");
    let id = stage.running(&service).await;
    let (backend, _proxy): (Arc<dyn Backend>, _) = match &stage.kind {
        Kind::Fake(engine) => {
            engine.look().manners.rates = Rates { removal_in_progress: 1000, ..Rates::default() };
            (stage.backend.clone(), None)
        }
        Kind::Real => {
            let act = Act::Answer(409, "removal of container 1f is already in progress");
            let proxy = Proxy::start(vec![Manner { method: "DELETE", path: "/containers/", times: 1_000, act }]).await;
            let limits = Deadlines { removal: Duration::from_secs(1), ..Deadlines::default() };
            (Arc::new(DockerBackend::with_deadlines(Some(&proxy.host), limits).unwrap()), Some(proxy))
        }
    };
    let error = backend.remove_container(&id).await.unwrap_err();
    assert!(matches!(error, BackendError::Busy { .. }) && error.class() == ErrorClass::Retry, "{error}");
    for _ in 0..100 {
        if stage.backend.remove_container(&id).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stage.state(&id).await, None);
}

async fn a_container_whose_port_is_taken_stays_and_starts_later(stage: &Stage) {
    let published = PublishedPort { host_address: Ipv4Addr::LOCALHOST.into(), host_port: 20_999, container_port: 8000 };
    let with_port = |name: &str| Service { ports: vec![published.clone()], ..stage.service(name, "exec sleep 600") };
    let first = stage.running(&with_port("first")).await;
    let second = stage.container(&*stage.backend, &with_port("second"), "h1", 1).await.unwrap();
    let error = stage.backend.start_container(&second).await.unwrap_err();
    assert!(matches!(error, BackendError::PortTaken { port: 20_999, .. }), "{error}");
    assert!(stage.state(&second).await.is_some_and(|state| state != ContainerState::Running));
    stage.backend.stop_container(&first, 1).await.unwrap();
    stage.backend.start_container(&second).await.unwrap();
    assert_eq!(stage.backend.inspect(&second).await.unwrap().unwrap().published, [20_999]);
}

async fn a_subnet_that_overlaps_is_refused_and_leaves_nothing(stage: &Stage) {
    stage.network(&*stage.backend).await.unwrap();
    let project = ProjectRef::parse(&"b".repeat(20)).unwrap();
    let network = model_network(&project, &stage.subnet);
    let labels = Labels { project, ..stage.labels.clone() };
    let error = stage.backend.ensure_network(&NetworkSpec { network: &network, labels }).await.unwrap_err();
    assert!(matches!(error, BackendError::SubnetTaken { .. }) && error.class() == ErrorClass::Capacity, "{error}");
    assert_eq!(stage.counts().await, (0, 1, 0));
}

async fn what_has_vanished_is_none_and_gone(stage: &Stage) {
    let nobody = "f".repeat(64);
    assert_eq!(stage.state(&nobody).await, None);
    stage.backend.stop_container(&nobody, 1).await.unwrap();
    stage.backend.remove_container(&nobody).await.unwrap();
    stage.backend.remove_network(&nobody).await.unwrap();
    stage.backend.remove_volume("supamanager-nothing").await.unwrap();
    let error = stage.backend.start_container(&nobody).await.unwrap_err();
    assert!(matches!(error, BackendError::NotFound { .. }), "{error}");
}

async fn a_process_that_ends_is_started_again_and_counted(stage: &Stage) {
    if let Kind::Fake(engine) = &stage.kind {
        engine.look().manners.rates = Rates { crash: 1000, ..Rates::default() };
    }
    let id = stage.running(&stage.service("db", "exit 1")).await;
    for _ in 0..200 {
        if stage.backend.inspect(&id).await.unwrap().unwrap().restart_count >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let inspected = stage.backend.inspect(&id).await.unwrap().unwrap();
    assert!(inspected.restart_count >= 2, "{inspected:?}");
    // Between two starts the engine knows the code, afterwards only that there was an end.
    let ended = inspected.ended.expect("an end");
    assert!(ended.at > 0 && ended.code.is_none_or(|code| code == 1), "{inspected:?}");
    let listed = stage.backend.list(&stage.labels.installation).await.unwrap();
    assert!(listed.containers[0].fresh && listed.containers[0].ended.is_none(), "{listed:?}");
    // Stopped on purpose it stays so.
    stage.backend.stop_container(&id, 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(matches!(stage.state(&id).await, Some(ContainerState::Exited { .. })));
}

async fn a_pull_that_fails_names_the_image(stage: &Stage) {
    let image = "127.0.0.1:1/supamanager-test/missing:1";
    let error = stage.backend.pull(image, Duration::from_secs(20), &|_| {}).await.unwrap_err();
    assert!(matches!(&error, BackendError::ImageUnavailable { image: named, .. } if named == image), "{error}");
    assert_eq!(stage.backend.image_digest(image).await.unwrap(), None);
}

async fn what_is_used_is_busy(stage: &Stage) {
    stage.volume(&*stage.backend).await.unwrap();
    let mut service = stage.service("db", "exec sleep 600");
    service.mounts.push(Mount {
        source: MountSource::Volume("config".into()),
        target: "/config".into(),
        mode: supamanager::stack::BindMode::ReadWrite,
    });
    let id = stage.running(&service).await;
    let seen = stage.backend.list(&stage.labels.installation).await.unwrap();
    let (network, volume) = (seen.networks[0].id.clone(), seen.volumes[0].name.clone());
    let error = stage.backend.remove_network(&network).await.unwrap_err();
    assert!(matches!(error, BackendError::Busy { .. }), "{error}");
    // A volume is held by a stopped container too, a network is not.
    stage.backend.stop_container(&id, 1).await.unwrap();
    let error = stage.backend.remove_volume(&volume).await.unwrap_err();
    assert!(matches!(error, BackendError::Busy { .. }), "{error}");
    stage.backend.remove_container(&id).await.unwrap();
    stage.backend.remove_volume(&volume).await.unwrap();
    stage.backend.remove_network(&network).await.unwrap();
    assert_eq!(stage.counts().await, (0, 0, 0));
}

async fn the_same_is_kept_whatever_its_generation_and_another_hash_or_network_replaces_it(stage: &Stage) {
    let service = stage.service("db", "exec sleep 600");
    let first = stage.running(&service).await;
    let again = |hash: &'static str, generation| stage.container(&*stage.backend, &service, hash, generation);
    assert_eq!(again("h1", 1).await.unwrap(), first);
    let second = again("h2", 1).await.unwrap();
    let third = again("h2", 2).await.unwrap();
    assert_eq!(second, third);
    // Once started it remembers its network.
    stage.backend.start_container(&third).await.unwrap();
    stage.backend.stop_container(&third, 1).await.unwrap();
    let seen = stage.backend.list(&stage.labels.installation).await.unwrap();
    stage.backend.remove_network(&seen.networks[0].id).await.unwrap();
    stage.network(&*stage.backend).await.unwrap();
    let fourth = again("h2", 2).await.unwrap();
    let ids = std::collections::BTreeSet::from([first, second, fourth]);
    assert_eq!((ids.len(), stage.counts().await), (3, (1, 1, 0)));
}

async fn a_volume_that_is_not_there_is_not_made_up(stage: &Stage) {
    let mut service = stage.service("db", "exec sleep 600");
    service.mounts.push(Mount {
        source: MountSource::Volume("config".into()),
        target: "/config".into(),
        mode: supamanager::stack::BindMode::ReadWrite,
    });
    stage.network(&*stage.backend).await.unwrap();
    let error = stage.container(&*stage.backend, &service, "h1", 1).await.unwrap_err();
    assert!(matches!(error, BackendError::Rejected { .. }), "{error}");
    assert_eq!(stage.counts().await, (0, 1, 0));
}

async fn a_change_wakes_who_waits_for_one(stage: &Stage) {
    let service = stage.service("db", "exec sleep 600");
    stage.network(&*stage.backend).await.unwrap();
    let (backend, installation) = (stage.backend.clone(), stage.labels.installation.clone());
    let waiting = tokio::spawn(async move { backend.changed(&installation).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    stage.running(&service).await;
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it did not wake").unwrap().unwrap();
}

async fn a_limit_is_changed_while_it_runs_and_read_back(stage: &Stage) {
    let id = stage.running(&stage.service("db", "exec sleep 600")).await;
    let limits = |mib: u64| Limits { cpu: Some(Cpu::millis(500)), memory: Some(Bytes::new(mib << 20)) };
    for wanted in [limits(64), limits(32)] {
        stage.backend.set_limits(&id, &wanted).await.unwrap();
        let held = stage.backend.held(&id).await.unwrap().unwrap();
        assert_eq!((held.asked.limits, held.kernel.unwrap().limits), (wanted, wanted));
    }
    assert_eq!(stage.state(&id).await, Some(ContainerState::Running));
    let nobody = "f".repeat(64);
    assert_eq!(stage.backend.held(&nobody).await.unwrap(), None);
    assert!(matches!(stage.backend.set_limits(&nobody, &limits(64)).await, Err(BackendError::NotFound { .. })));
}

macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        mod on_the_fake {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                async fn $name() {
                    super::$name(&Stage::fake()).await;
                }
            )+
        }
        mod on_the_real_one {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    with_world(|world| async move {
                        super::$name(&Stage::real(&world)).await;
                        world.remove_all().await;
                    })
                    .await;
                }
            )+
        }
    };
}

on_every_engine!(
    a_change_whose_reply_was_lost_can_be_asked_for_again,
    a_change_that_was_refused_can_be_asked_for_again,
    a_change_that_was_given_up_happens_later_and_once,
    a_name_that_nothing_holds_is_free_a_moment_later,
    a_removal_in_progress_is_busy_and_ends,
    a_container_whose_port_is_taken_stays_and_starts_later,
    a_subnet_that_overlaps_is_refused_and_leaves_nothing,
    what_has_vanished_is_none_and_gone,
    a_process_that_ends_is_started_again_and_counted,
    a_pull_that_fails_names_the_image,
    what_is_used_is_busy,
    the_same_is_kept_whatever_its_generation_and_another_hash_or_network_replaces_it,
    a_volume_that_is_not_there_is_not_made_up,
    a_change_wakes_who_waits_for_one,
    a_limit_is_changed_while_it_runs_and_read_back,
    a_helper_that_nobody_waits_for_ends_with_the_next_one,
);
