//! What happens inside: logs, commands, usage, and files that containers own.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptions};
use supamanager::backend::{Backend, BackendError, ExecRequest, LINE_BYTES_MAX};
use supamanager::clock::parse_rfc3339;
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
        let lines = world.backend.logs(&id, 100, None).await.unwrap();
        // The two streams are two pipes: each has its order, both together have none.
        let of = |stream: &str| {
            let texts = lines.iter().filter(|line| line.stream == stream).map(|line| line.text.chars().take(6).collect());
            texts.collect::<Vec<String>>()
        };
        assert_eq!(of("stdout"), ["out 1", "out 2", "out 3", "1x2x3x", "done"]);
        assert_eq!(of("stderr"), ["err 1", "err 2", "err 3"]);
        assert!(lines.iter().any(|line| line.text.len() == LINE_BYTES_MAX));
        assert!(lines[0].timestamp.ends_with('Z') && lines[0].timestamp.contains('T'));
        assert!(world.backend.logs(&id, 2, None).await.unwrap().len() <= 2);
        assert!(world.backend.logs(&id, 0, None).await.unwrap().is_empty());
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn since_is_a_moment_within_its_second_and_may_be_long_ago() {
    with_world(|world| async move {
        // Two streams are two pipes, and the engine stamps what it read of either: at once after `late`, `done` could be earlier.
        let service = world.service("db", "echo early; sleep 0.2; echo late; sleep 0.2; echo done >&2; sleep 600");
        let id = world.running(&service).await;
        world.written(&id, "done").await;
        let all = world.backend.logs(&id, 100, None).await.unwrap();
        let late = all.iter().find(|line| line.text == "late").unwrap();
        let since = parse_rfc3339(&late.timestamp).unwrap();
        let texts = async |since| {
            let lines = world.backend.logs(&id, 100, Some(since)).await.unwrap();
            let mut texts: Vec<String> = lines.into_iter().map(|line| line.text).collect();
            texts.sort();
            texts
        };
        assert_eq!(texts(since).await, ["done", "late"]);
        assert_eq!(texts(since - 200 * 365 * 86_400_000).await, ["done", "early", "late"]);
        assert_eq!(texts(since + 200 * 365 * 86_400_000).await, Vec::<String>::new());
        let (sender, mut lines) = tokio::sync::mpsc::channel(8);
        let following = world.backend.follow_logs(&id, since, sender);
        let heard = async {
            let mut texts = vec![lines.recv().await.unwrap().text, lines.recv().await.unwrap().text];
            texts.sort();
            drop(lines);
            texts
        };
        let both = async { tokio::join!(following, heard) };
        let (ended, heard) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("it ends when nobody listens");
        assert_eq!((ended.is_ok(), heard), (true, vec!["done".to_owned(), "late".to_owned()]));
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn of_many_long_lines_the_newest_megabyte_comes() {
    with_world(|world| async move {
        // Two hundred lines of nearly eleven kilobytes, in several files of the driver.
        let mut service = world.service("db", "for i in $(seq 1 200); do seq -s x 1 2400; done; echo done; sleep 600");
        service.logging.options.insert("max-size".into(), "4m".into());
        let id = world.running(&service).await;
        world.written(&id, "done").await;
        let lines = world.backend.logs(&id, 1_000, None).await.unwrap();
        let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
        assert!((900_000..=1 << 20).contains(&bytes), "{bytes} bytes in {} lines", lines.len());
        assert_eq!(lines.last().unwrap().text, "done");
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
            lines = world.backend.logs(&id, 5, None).await.unwrap();
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
        // It closes its output and goes on: waited for where the engine keeps the stream open until the end (20.10, 26.1).
        let detached = world.backend.exec(&id, run("exec >&- 2>&-; sleep 2; exit 4", None, 100)).await;
        assert!(matches!(&detached, Ok(output) if output.exit_code == 4), "{detached:?}");
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
        let (before, begun) = (world.backend.usage(&id).await.unwrap(), Instant::now());
        assert!(begun.elapsed() < Duration::from_secs(1), "one shot: the engine waits for no second reading");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let usage = world.backend.usage(&id).await.unwrap();
        let cores = (usage.cpu_ns - before.cpu_ns) as f64 / begun.elapsed().as_nanos() as f64;
        assert!(cores > 0.05 && cores < 3.0, "{cores} of {usage:?}");
        assert!(usage.rx_bytes >= before.rx_bytes && usage.rx_bytes < 1 << 30, "{usage:?}");
        assert!(usage.memory_bytes > 50_000 && usage.memory_bytes < 100_000_000, "{usage:?}");
        world.backend.stop_container(&id, 0).await.unwrap();
        let usage = world.backend.usage(&id).await.unwrap();
        assert_eq!((usage.cpu_ns, usage.memory_bytes), (0, 0), "{usage:?}");
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
