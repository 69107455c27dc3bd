//! The engine's bad manners that cannot be asked for: lost replies, removals in progress, phantom names, cut streams.

use std::time::{Duration, Instant};

use supamanager::backend::docker::{Deadlines, DockerBackend};
use supamanager::backend::{Backend, BackendError, ErrorClass, ExecRequest};

use crate::proxy::{Act, Manner, Proxy};
use crate::world::with_world;

async fn behind(manners: Vec<Manner>) -> (Proxy, DockerBackend) {
    let proxy = Proxy::start(manners).await;
    let deadlines = Deadlines { removal: Duration::from_secs(3), ..Deadlines::default() };
    let backend = DockerBackend::with_deadlines(Some(&proxy.host), deadlines).unwrap();
    (proxy, backend)
}

fn lost(path: &'static str) -> Manner {
    Manner { method: "POST", path, times: 1, act: Act::LoseReply }
}

#[tokio::test]
async fn what_was_made_although_the_reply_was_lost_is_found_again() {
    with_world(|world| async move {
        let (proxy, backend) = behind(vec![lost("/networks/create"), lost("/volumes/create"), lost("/containers/create")]).await;
        backend.ensure_network(&world.network_spec()).await.unwrap();
        let volume = world.volume();
        std::fs::create_dir(world.folder.join(&volume.folder)).unwrap();
        backend.ensure_volume(&world.volume_spec(&volume)).await.unwrap();
        let service = world.service("db", "sleep 600");
        let id = backend.ensure_container(&world.spec(&service, "h1")).await.unwrap();
        proxy.assert_all_met();
        let seen = world.backend.list(&world.labels.installation).await.unwrap();
        assert_eq!((seen.networks.len(), seen.volumes.len(), seen.containers.len()), (1, 1, 1));
        assert_eq!(seen.containers[0].id, id);
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_start_stop_or_removal_whose_reply_was_lost_can_be_asked_for_again() {
    with_world(|world| async move {
        let remove = Manner { method: "DELETE", path: "/containers/", times: 1, act: Act::LoseReply };
        let (proxy, backend) = behind(vec![lost("/start"), lost("/stop"), remove]).await;
        let service = world.service("db", "sleep 600");
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let id = backend.ensure_container(&world.spec(&service, "h1")).await.unwrap();
        for again in [false, true] {
            assert_eq!(backend.start_container(&id).await.is_ok(), again);
        }
        for again in [false, true] {
            assert_eq!(backend.stop_container(&id, 1).await.is_ok(), again);
        }
        for again in [false, true] {
            let outcome = backend.remove_container(&id).await;
            assert!(again == outcome.is_ok() && outcome.err().is_none_or(|error| error.class() == ErrorClass::Retry));
        }
        proxy.assert_all_met();
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_name_that_nobody_holds_any_more_is_asked_for_again() {
    with_world(|world| async move {
        let conflict = "Conflict. The container name is already in use by container 1f.";
        let phantom = Manner { method: "POST", path: "/containers/create", times: 2, act: Act::Answer(409, conflict) };
        let (proxy, backend) = behind(vec![phantom]).await;
        let service = world.service("db", "sleep 600");
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        backend.ensure_container(&world.spec(&service, "h1")).await.unwrap();
        proxy.assert_all_met();
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_removal_in_progress_is_waited_for_up_to_the_deadline() {
    with_world(|world| async move {
        let progress = "removal of container 1f is already in progress";
        let manner = |times| Manner { method: "DELETE", path: "/containers/", times, act: Act::Answer(409, progress) };
        let service = world.service("db", "sleep 600");
        let id = world.running(&service).await;
        let (_endless, backend) = behind(vec![manner(1_000)]).await;
        let begun = Instant::now();
        let error = backend.remove_container(&id).await.unwrap_err();
        assert!(matches!(error, BackendError::Busy { .. }) && error.class() == ErrorClass::Retry, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30));
        let (twice, backend) = behind(vec![manner(2)]).await;
        backend.remove_container(&id).await.unwrap();
        twice.assert_all_met();
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_failure_of_the_engine_itself_may_be_tried_again_and_a_full_disk_is_told() {
    with_world(|world| async move {
        let fault = Manner { method: "GET", path: "/containers/json", times: 1, act: Act::Answer(500, "some daemon trouble") };
        let full = Manner {
            method: "POST",
            path: "/containers/create",
            times: 1,
            act: Act::Answer(500, "mkdir /var/lib/docker/overlay2/1f: no space left on device"),
        };
        let (proxy, backend) = behind(vec![fault, full]).await;
        let error = backend.list(&world.labels.installation).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Retry, "{error}");
        assert!(backend.list(&world.labels.installation).await.unwrap().is_empty());
        let service = world.service("db", "sleep 600");
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let error = backend.ensure_container(&world.spec(&service, "h1")).await.unwrap_err();
        assert!(matches!(error, BackendError::DiskFull(_)) && error.class() == ErrorClass::Capacity, "{error}");
        proxy.assert_all_met();
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_network_whose_endpoints_the_engine_has_lost_count_of_is_said_to_need_a_restart() {
    with_world(|world| async move {
        let miscounted = Act::Answer(403, "error while removing network: network a id 1f has active endpoints");
        let manner = Manner { method: "DELETE", path: "/networks/", times: 2, act: miscounted };
        let (proxy, backend) = behind(vec![manner]).await;
        let container = world.running(&world.service("db", "sleep 600")).await;
        let network = world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let error = backend.remove_network(&network).await.unwrap_err();
        assert!(!error.to_string().contains("restart"), "a container is in it: {error}");
        world.backend.remove_container(&container).await.unwrap();
        let error = backend.remove_network(&network).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Retry, "{error}");
        assert!(error.to_string().contains("restart the engine"), "{error}");
        proxy.assert_all_met();
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_cut_event_stream_wakes() {
    with_world(|world| async move {
        let cut = Manner { method: "GET", path: "/events", times: 1, act: Act::LoseReply };
        let (proxy, backend) = behind(vec![cut]).await;
        tokio::time::timeout(Duration::from_secs(5), backend.changed(&world.labels.installation)).await.unwrap().unwrap();
        proxy.assert_all_met();
    })
    .await;
}

#[tokio::test]
async fn a_command_whose_begin_was_lost_is_said_to_be_unfinished() {
    with_world(|world| async move {
        let id = world.running(&world.service("db", "sleep 600")).await;
        let (proxy, backend) = behind(vec![lost("/start")]).await;
        // Whether it was begun differs between engines: 20.10 goes on with it, 26.1 does not.
        let run =
            ExecRequest { argv: vec!["/bin/true".to_owned()], stdin: None, deadline: Duration::from_secs(10), output_limit: 100 };
        let answer = backend.exec(&id, run).await;
        assert!(matches!(answer, Err(BackendError::Unfinished { .. })), "{answer:?}");
        proxy.assert_all_met();
        world.remove_all().await;
    })
    .await;
}
