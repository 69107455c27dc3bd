//! What happens inside: logs, commands, usage, and files that containers own.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptions};
use supamanager::backend::{Backend, BackendError, ExecRequest};
use supamanager::domain::Secret;
use supamanager::stack::{BindMode, Logging, Mount, MountSource};

use crate::world::{IMAGE, with_world};

#[tokio::test]
async fn the_last_lines_come_in_order_with_their_stream() {
    with_world(|world| async move {
        let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; seq -s x 12000; echo done; sleep 600";
        let service = world.service("db", script);
        let id = world.running(&service).await;
        world.written(&id, "done").await;
        let lines = world.backend.logs(&id, 100).await.unwrap();
        // The two streams are two pipes: each has its order, both together have none.
        let of = |stream: &str| {
            let texts = lines.iter().filter(|line| line.stream == stream).map(|line| line.text.chars().take(6).collect());
            texts.collect::<Vec<String>>()
        };
        assert_eq!(of("stdout"), ["out 1", "out 2", "out 3", "1x2x3x", "done"]);
        assert_eq!(of("stderr"), ["err 1", "err 2", "err 3"]);
        assert!(lines.iter().any(|line| line.text.len() == 16 * 1024));
        assert!(lines[0].timestamp.ends_with('Z') && lines[0].timestamp.contains('T'));
        assert!(world.backend.logs(&id, 2).await.unwrap().len() <= 2);
        assert!(world.backend.logs(&id, 0).await.unwrap().is_empty());
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn with_a_log_collector_that_is_not_there_a_container_starts_and_its_lines_are_read() {
    with_world(|world| async move {
        let mut service = world.service("db", "echo through the cache; sleep 600");
        let address = world.network.gateway.clone().unwrap();
        let options = [
            ("fluentd-address", format!("{address}:24224")),
            ("fluentd-async", "true".to_owned()),
            ("cache-max-size", "1m".to_owned()),
            ("cache-max-file", "2".to_owned()),
            ("tag", "db".to_owned()),
        ];
        service.logging = Logging {
            driver: "fluentd".into(),
            options: options.map(|(key, value)| (key.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
        };
        let id = world.running(&service).await;
        let mut lines = Vec::new();
        for _ in 0..50 {
            lines = world.backend.logs(&id, 5).await.unwrap();
            if !lines.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(lines[0].text, "through the cache");
        world.remove_all().await;
    })
    .await;
}

fn run(script: &str, stdin: Option<&[u8]>, output_limit: usize) -> ExecRequest {
    ExecRequest {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        stdin: stdin.map(|bytes| Secret::new(bytes.to_vec())),
        deadline: Duration::from_secs(10),
        output_limit,
    }
}

#[tokio::test]
async fn a_command_reads_its_input_and_answers_with_its_code() {
    with_world(|world| async move {
        let service = world.service("db", "sleep 600");
        let id = world.running(&service).await;
        let output = world.backend.exec(&id, run("cat; echo oops >&2; exit 3", Some(b"hello"), 100)).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.as_slice(), output.stderr.as_slice()), (3, &b"hello"[..], &b"oops\n"[..]));
        // Without input it reads the end at once.
        let output = world.backend.exec(&id, run("cat", None, 100)).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.len()), (0, 0));
        // More output than is kept, and more input than a pipe holds.
        let megabyte = vec![b'x'; 1 << 20];
        let output = world.backend.exec(&id, run("cat", Some(&megabyte), 1_000)).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.len()), (0, 1_000));
        // It never reads what it is given.
        let output = world.backend.exec(&id, run("exit 5", Some(&megabyte), 1_000)).await.unwrap();
        assert_eq!(output.exit_code, 5);

        let mut endless = run("sleep 60", None, 100);
        endless.deadline = Duration::from_millis(500);
        let begun = Instant::now();
        assert!(matches!(world.backend.exec(&id, endless).await, Err(BackendError::TimedOut { .. })));
        assert!(begun.elapsed() < Duration::from_secs(5));
        let gone = world.backend.exec(&"f".repeat(64), run("true", None, 1)).await;
        assert!(matches!(gone, Err(BackendError::NotFound { .. })));
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn usage_is_of_a_sane_size() {
    with_world(|world| async move {
        let busy = world.service("busy", "while :; do :; done");
        let id = world.running(&busy).await;
        let usage = world.backend.usage(&id).await.unwrap();
        assert!(usage.cpu_cores > 0.05 && usage.cpu_cores < 3.0, "{usage:?}");
        assert!(usage.memory_bytes > 50_000 && usage.memory_bytes < 100_000_000, "{usage:?}");
        world.backend.stop_container(&id, 0).await.unwrap();
        let usage = world.backend.usage(&id).await.unwrap();
        assert!(usage.cpu_cores < 0.001 && usage.memory_bytes == 0, "{usage:?}");
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn files_of_another_owner_are_removed_and_symlinks_are_not_followed() {
    with_world(|world| async move {
        let outside = world.folder.join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        let script = "mkdir -p /data/a/b /data/.hidden; touch /data/a/b/file '/data/a/with space' /data/.hidden/x; seq 1 3 > /data/a/n; \
                      chown -R 4711:4711 /data/a; echo done; sleep 600";
        let mut service = world.service("db", script);
        service.mounts.push(Mount { source: MountSource::Folder("volumes/data".into()), target: "/data".into(), mode: BindMode::ReadWrite });
        let id = world.running(&service).await;
        world.written(&id, "done").await;
        let volumes = world.folder.join("volumes");
        std::os::unix::fs::symlink(&outside, volumes.join("data/link")).unwrap();
        assert!(volumes.join("data/a/b/file").exists());
        world.backend.empty_folder(&volumes, &world.image_digest, &world.labels).await.unwrap();
        assert_eq!(std::fs::read_dir(&volumes).unwrap().count(), 0, "the folder is not empty");
        assert!(outside.join("kept").exists(), "a symlink was followed");
        world.backend.empty_folder(&volumes, &world.image_digest, &world.labels).await.unwrap();
        world.backend.empty_folder(&world.folder.join("nothing"), &world.image_digest, &world.labels).await.unwrap();
        let missing = format!("sha256:{}", "0".repeat(64));
        let error = world.backend.empty_folder(&volumes, &missing, &world.labels).await.unwrap_err();
        assert!(matches!(error, BackendError::ImageUnavailable { .. }), "{error}");
        let root = world.backend.empty_folder(std::path::Path::new("/root"), &world.image_digest, &world.labels).await;
        assert!(matches!(root, Err(BackendError::Rejected { .. })));
        let seen = world.backend.list(&world.labels.installation).await.unwrap();
        assert_eq!(seen.containers.len(), 1, "a helper is left");
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_helper_that_a_killed_daemon_left_is_replaced_and_a_foreign_one_is_told() {
    with_world(|world| async move {
        let volumes = world.folder.join("volumes");
        let name = world.name("helper");
        let make = |labels: HashMap<String, String>| {
            let body = ContainerCreateBody {
                image: Some(IMAGE.into()),
                cmd: Some(vec!["/bin/sh".into()]),
                labels: Some(labels),
                ..Default::default()
            };
            world.raw.create_container(Some(CreateContainerOptionsBuilder::new().name(&name).build()), body)
        };
        let mut labels: HashMap<_, _> = world.labels.to_map().into_iter().collect();
        labels.insert("io.supamanager.role".into(), "helper".into());
        make(labels).await.unwrap();
        world.backend.empty_folder(&volumes, &world.image_digest, &world.labels).await.unwrap();
        assert_eq!(std::fs::read_dir(&volumes).unwrap().count(), 0, "the folder is not empty");

        let foreign = make(HashMap::new()).await.unwrap().id;
        let error = world.backend.empty_folder(&volumes, &world.image_digest, &world.labels).await.unwrap_err();
        world.raw.remove_container(&foreign, None::<RemoveContainerOptions>).await.expect("the foreign container was touched");
        assert!(matches!(error, BackendError::NameTaken { kind: "container", .. }), "{error}");
    })
    .await;
}
