//! The way to the engine: information, events, pulls, and what happens when nobody answers.

use std::time::{Duration, Instant};

use supamanager::backend::docker::{Deadlines, DockerBackend};
use supamanager::backend::{Backend, BackendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::with_world;

#[tokio::test]
async fn the_engine_says_what_it_is() {
    with_world(|world| async move {
        let info = world.backend.info().await.unwrap();
        assert!(info.cpus > 0 && info.memory_bytes > 0 && info.root_dir.starts_with('/'));
        assert!(info.api_version.starts_with("1.") && info.api_version_max.starts_with("1."), "{info:?}");
        assert!(!info.version.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_change_of_ours_wakes_and_nobody_elses() {
    with_world(|world| async move {
        let waiting = {
            let world = world.clone();
            tokio::spawn(async move { world.backend.changed(&world.labels.installation).await })
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!waiting.is_finished());
        let service = world.service("db", "sleep 600");
        world.running(&service).await;
        tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it did not wake").unwrap().unwrap();
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_unreachable_at_once() {
    let begun = Instant::now();
    for host in ["unix:///tmp/supamanager-no-such-socket", "tcp://127.0.0.1:1"] {
        let backend = DockerBackend::connect(Some(host)).unwrap();
        assert!(matches!(backend.info().await, Err(BackendError::Unreachable(_))), "{host}");
        let id = supamanager::domain::InstallationId::parse(&"a".repeat(32)).unwrap();
        assert!(matches!(backend.changed(&id).await, Err(BackendError::Unreachable(_))), "{host}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}

fn short() -> Deadlines {
    Deadlines { read: Duration::from_millis(300), change: Duration::from_millis(300), ..Deadlines::default() }
}

#[tokio::test]
async fn an_engine_that_accepts_and_never_answers_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let backend = DockerBackend::with_deadlines(Some(&host), short()).unwrap();
    let begun = Instant::now();
    assert!(matches!(backend.info().await, Err(BackendError::TimedOut { deadline_ms: 300, .. })));
    assert!(begun.elapsed() < Duration::from_secs(3));
    silent.abort();
}

/// An engine for one pull: answers `/version`, then the given lines of `/images/create`, then holds still.
async fn scripted(lines: &'static str) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            held.push(tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
                    let answer = if request.contains("/version") {
                        let body = r#"{"ApiVersion":"1.41"}"#;
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                    } else {
                        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{lines}\r\n", lines.len())
                    };
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        break;
                    }
                }
            }));
        }
    });
    (host, task)
}

#[tokio::test]
async fn a_pull_that_fails_inside_a_200_is_a_failed_pull() {
    let (host, engine) = scripted(
        "{\"status\":\"Pulling from x/y\",\"id\":\"1\"}\n{\"errorDetail\":{\"message\":\"manifest unknown\"},\"error\":\"manifest unknown\"}\n",
    )
    .await;
    let backend = DockerBackend::connect(Some(&host)).unwrap();
    let error = backend.pull("x/y:1", Duration::from_secs(5), &|_| {}).await.unwrap_err();
    assert!(
        matches!(&error, BackendError::ImageUnavailable { image, reason } if image == "x/y:1" && reason == "manifest unknown"),
        "{error}"
    );
    engine.abort();
}

#[tokio::test]
async fn a_pull_that_stops_moving_is_given_up() {
    let (host, engine) =
        scripted("{\"status\":\"Downloading\",\"id\":\"1\",\"progressDetail\":{\"current\":1048576,\"total\":4194304}}\n").await;
    let backend = DockerBackend::connect(Some(&host)).unwrap();
    let heard = std::sync::Mutex::new(Vec::new());
    let begun = Instant::now();
    let error = backend.pull("x/y:1", Duration::from_millis(500), &|text| heard.lock().unwrap().push(text)).await.unwrap_err();
    assert!(matches!(error, BackendError::TimedOut { deadline_ms: 500, .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(*heard.lock().unwrap(), ["1 of 4 MiB"]);
    engine.abort();
}

#[tokio::test]
async fn a_pull_of_what_no_registry_has_names_the_image() {
    with_world(|world| async move {
        // A registry that refuses connections: nothing leaves this machine.
        let image = "127.0.0.1:1/supamanager-test/nothing:1";
        let error = world.backend.pull(image, Duration::from_secs(30), &|_| {}).await.unwrap_err();
        assert!(matches!(&error, BackendError::ImageUnavailable { image: named, .. } if named == image), "{error}");
        assert!(matches!(
            world.backend.pull("Not An Image", Duration::from_secs(1), &|_| {}).await,
            Err(BackendError::ImageUnavailable { .. })
        ));
    })
    .await;
}
