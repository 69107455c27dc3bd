//! Plugins are swapped while they are called: nothing is lost, nothing broken gets in, there is a way back, and an
//! operation keeps the code it began with.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use supamanager::domain::{PluginChoices, ServiceName, ServiceState};
use supamanager::plugin_host::hooks::{HookError, Pins, ProbeInput};
use supamanager::plugin_host::{Change, Fate, HostConfig, Leave, PluginHost, RollbackError};
use supamanager::telemetry::Metrics;
use tokio_util::sync::CancellationToken;

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, prober, renderer};
use crate::{project, render_input};

/// A prober that says the state of this number (healthy, starting, unhealthy), whatever it is asked.
pub fn says(state: u8) -> Vec<u8> {
    prober(&format!(
        "(i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
         (i32.store8 (i32.const 2060) (i32.const {state}))
         (i32.store (i32.const 2064) (i32.const 16)) (i32.store (i32.const 2068) (i32.const 5))
         (i32.store (i32.const 2072) (i32.const 32)) (i32.store (i32.const 2076) (i32.const 5)) (i32.const 2048)"
    ))
}

/// A renderer that makes nothing; the number makes it another version.
fn nothing(number: u8) -> Vec<u8> {
    renderer(&format!("(drop (i32.const {number})) (call $ok)"))
}

/// A data folder that goes with the test.
struct Data(PathBuf);

impl Data {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("supamanager-swapped-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    async fn host(&self, plugins: &Plugins) -> PluginHost {
        PluginHost::load(HostConfig { leave: Leave::of_everything(), ..HostConfig::new(plugins.folder(), &self.0) })
            .await
            .expect("they load")
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn ask(host: &PluginHost) -> ServiceState {
    let service = ServiceName::parse("auth").expect("a service");
    let input = ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() };
    host.probe(input, Fake::answering(Answer::Silence)).await.expect("a verdict").state
}

fn digest(host: &PluginHost) -> String {
    host.list().remove(0).digest
}

async fn reload(host: &PluginHost) -> Change {
    host.reload().await.expect("the folder").remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_load_lose_no_probe_and_make_none_wrong() {
    const STATES: [ServiceState; 2] = [ServiceState::Healthy, ServiceState::Unhealthy];
    let (plugins, data) = (Plugins::of("probe", "", &says(0)), Data::new("load"));
    let host = Arc::new(data.host(&plugins).await);
    // Swaps so far, and of the one under way too: between the two numbers either version may answer.
    let (begun, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let asking = (0..8).map(|_| {
        let (host, begun, done) = (host.clone(), begun.clone(), done.clone());
        tokio::spawn(async move {
            let (mut probes, mut seen) = (0, [0, 0]);
            while probes < 1_250 || done.load(Ordering::SeqCst) < 100 {
                let first = done.load(Ordering::SeqCst);
                let state = ask(&host).await;
                let last = begun.load(Ordering::SeqCst);
                assert!((first..=last).any(|swaps| STATES[swaps % 2] == state), "{state:?} after {first} to {last} swaps");
                seen[usize::from(state == STATES[1])] += 1;
                probes += 1;
            }
            (probes, seen)
        })
    });
    let asking: Vec<_> = asking.collect();
    for swap in 1..=100_usize {
        plugins.add("guest", "probe", "", &says(if swap % 2 == 0 { 0 } else { 2 }));
        begun.store(swap, Ordering::SeqCst);
        assert_eq!(reload(&host).await.fate, Fate::Replaced, "swap {swap}");
        done.store(swap, Ordering::SeqCst);
    }
    let (mut probes, mut seen) = (0, [0, 0]);
    for task in asking {
        let (asked, of) = task.await.expect("no probe is lost or wrong");
        (probes, seen) = (probes + asked, [seen[0] + of[0], seen[1] + of[1]]);
    }
    assert!(probes >= 10_000 && seen.iter().all(|of| *of > 100), "{probes} probes, {seen:?} of each version");
    let calls = host.list().remove(0).hooks.remove(0).usage.calls;
    assert_eq!(calls, [("ok", u64::try_from(probes).expect("a number"))].into(), "over all versions");
    println!("100 swaps, {probes} probes, 0 lost, 0 wrong; by the one version {}, by the other {}", seen[0], seen[1]);
}

#[tokio::test]
async fn a_broken_version_replaces_nothing_and_says_why() {
    let (plugins, data) = (Plugins::of("probe", "", &says(0)), Data::new("broken"));
    let host = data.host(&plugins).await;
    let good = digest(&host);
    let file = plugins.folder().join("guest/plugin.wasm");
    let other = says(2);
    let breaks: [(&str, &dyn Fn()); 4] = [
        ("sha256", &|| std::fs::write(&file, &other[..other.len() / 2]).expect("a copy that is half done")),
        ("no WebAssembly component", &|| drop(plugins.add("guest", "probe", "", b"garbage"))),
        ("never granted", &|| {
            let folder = plugins.add("guest", "probe", "", &other);
            let manifest = std::fs::read_to_string(folder.join("plugin.toml")).expect("a manifest");
            std::fs::write(folder.join("plugin.toml"), manifest.replace("\"clock\"", "\"sql\"")).expect("written");
        }),
        ("`describe`", &|| {
            drop(plugins.add(
                "guest",
                "probe",
                "",
                &crate::guests::component_describing(
                    "probe",
                    "",
                    "(func (export \"check\") (param i32 i32 i32 i32 i32 i32) (result i32) unreachable)",
                    "(func (export \"describe\") (result i32) unreachable)",
                ),
            ))
        }),
    ];
    for (word, make) in breaks {
        make();
        let change = reload(&host).await;
        let error = change.error.unwrap_or_default();
        assert!(change.fate == Fate::Refused && error.contains(word), "{:?} {error}", change.fate);
        assert_eq!((change.to.as_ref(), digest(&host), ask(&host).await), (Some(&good), good.clone(), ServiceState::Healthy));
    }
    plugins.add("guest", "probe", "", &other);
    assert_eq!(reload(&host).await.fate, Fate::Replaced);
    assert_eq!((ask(&host).await, reload(&host).await.fate), (ServiceState::Unhealthy, Fate::Unchanged));
    let text = Metrics::new(host.metrics()).text(&[]).expect("text");
    assert_eq!(text.matches("supamanager_plugin_loaded{").count(), 1, "what runs, and nothing that ran:\n{text}");
}

#[tokio::test]
async fn plugins_come_and_go_with_their_folders() {
    let (plugins, data) = (Plugins::of("render", "", &nothing(1)), Data::new("folders"));
    let host = data.host(&plugins).await;
    plugins.add(
        "zebra",
        "probe",
        "",
        &crate::guests::component(
            "probe",
            "",
            "(func (export \"check\") (param i32 i32 i32 i32 i32 i32) (result i32) unreachable)",
        ),
    );
    // It says of itself that it is `guest`.
    let changes = host.reload().await.expect("the folder");
    let fates: Vec<(&str, Fate)> = changes.iter().map(|change| (change.plugin.as_str(), change.fate)).collect();
    assert_eq!(fates, [("guest", Fate::Unchanged), ("zebra", Fate::Refused)]);
    std::fs::remove_dir_all(plugins.folder().join("zebra")).expect("removed");
    std::fs::remove_dir_all(plugins.folder().join("guest")).expect("removed");
    let pins = host.pins(&PluginChoices::default());
    assert_eq!(
        (reload(&host).await.fate, host.has_render(&PluginChoices::default()), host.list().len()),
        (Fate::Removed, false, 0)
    );
    host.render(&pins, render_input()).await.expect("an operation that began with it ends with it");
    plugins.add("guest", "render", "", &nothing(1));
    assert_eq!((reload(&host).await.fate, host.has_render(&PluginChoices::default())), (Fate::Loaded, true));
    std::fs::rename(plugins.folder(), plugins.folder().with_extension("away")).expect("moved");
    host.reload().await.expect_err("no folder is no empty folder");
    assert!(host.has_render(&PluginChoices::default()));
    std::fs::rename(plugins.folder().with_extension("away"), plugins.folder()).expect("moved back");
}

async fn renders(host: &PluginHost, pins: &Pins) -> bool {
    match host.render(pins, render_input()).await {
        Ok(_) => true,
        Err(HookError::PinMissing { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_operation_finds_the_code_it_began_with_after_swaps_and_a_restart() {
    let (plugins, data) = (Plugins::of("render", "", &nothing(0)), Data::new("pins"));
    let host = data.host(&plugins).await;
    let mut began = vec![host.pins(&PluginChoices::default())];
    for number in 1..7 {
        plugins.add("guest", "render", "", &nothing(number));
        assert_eq!(reload(&host).await.fate, Fate::Replaced);
        began.push(host.pins(&PluginChoices::default()));
    }
    for pins in &began {
        assert!(renders(&host, pins).await, "{pins:?}");
    }
    drop(host);
    let host = data.host(&plugins).await;
    let mut found = Vec::new();
    for pins in &began {
        found.push(renders(&host, pins).await);
    }
    assert_eq!(found, [false, false, true, true, true, true, true], "the last five versions are kept");
    let nobody = vec![("guest".to_owned(), "sha256:0".to_owned())];
    assert!(!renders(&host, &nobody).await);
}

#[tokio::test]
async fn a_step_back_lasts_over_a_restart_until_the_folder_has_another_version() {
    let (plugins, data) = (Plugins::of("probe", "", &says(0)), Data::new("back"));
    let host = data.host(&plugins).await;
    let first = digest(&host);
    let none = host.rollback("guest", None).await.expect_err("there is none before it");
    assert!(matches!(&none, RollbackError::NotKept { kept, .. } if *kept == first), "{none}");
    assert!(matches!(host.rollback("nobody", None).await, Err(RollbackError::Unknown(_))));

    plugins.add("guest", "probe", "", &says(2));
    reload(&host).await;
    let second = digest(&host);
    let change = host.rollback("guest", None).await.expect("it goes back");
    assert_eq!((change.fate, change.from, change.to), (Fate::Replaced, Some(second.clone()), Some(first.clone())));
    assert_eq!((ask(&host).await, reload(&host).await.fate), (ServiceState::Healthy, Fate::Unchanged));
    host.rollback("guest", None).await.expect_err("there is none before the first");
    drop(host);

    let host = data.host(&plugins).await;
    assert_eq!((digest(&host), ask(&host).await), (first.clone(), ServiceState::Healthy));
    plugins.add("guest", "probe", "", &says(1));
    assert_eq!((reload(&host).await.fate, ask(&host).await), (Fate::Replaced, ServiceState::Starting));
    let change = host.rollback("guest", Some(&second)).await.expect("by its digest");
    assert_eq!((change.to, ask(&host).await), (Some(second), ServiceState::Unhealthy));
    let third = host.rollback("guest", Some(&change.from.expect("the third"))).await.expect("forward again");
    assert_eq!((third.fate, ask(&host).await), (Fate::Replaced, ServiceState::Starting));
    assert!(matches!(host.rollback("guest", Some("sha256:0")).await, Err(RollbackError::NotKept { .. })));
    drop(host);
    let host = data.host(&plugins).await;
    assert_eq!(ask(&host).await, ServiceState::Starting, "nothing is held any more");
}

#[tokio::test]
async fn files_that_change_are_taken_over_once_they_are_left_alone() {
    let (plugins, data) = (Plugins::of("probe", "", &says(0)), Data::new("watched"));
    let host = Arc::new(data.host(&plugins).await);
    let stop = CancellationToken::new();
    let watching = tokio::spawn({
        let (host, stop) = (host.clone(), stop.clone());
        async move { host.watch(Duration::from_millis(20), stop).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    plugins.add("guest", "probe", "", &says(2));
    let swapped = tokio::time::timeout(Duration::from_secs(20), async {
        while ask(&host).await != ServiceState::Unhealthy {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    swapped.await.expect("the new version answers");
    stop.cancel();
    watching.await.expect("it ends");
}

#[tokio::test]
async fn a_kept_version_that_was_damaged_is_not_run() {
    let (plugins, data) = (Plugins::of("probe", "", &says(0)), Data::new("damaged"));
    let host = data.host(&plugins).await;
    plugins.add("guest", "probe", "", &says(2));
    reload(&host).await;
    let damaged = Mutex::new(0);
    every_file(&data.0.join("plugins"), &|file| {
        if file.ends_with("plugin.wasm") {
            let mut bytes = std::fs::read(file).expect("read");
            bytes[100] ^= 1;
            std::fs::write(file, bytes).expect("written");
            *damaged.lock().expect("one thread") += 1;
        }
    });
    assert_eq!(damaged.into_inner().expect("one thread"), 2);
    let refused = host.rollback("guest", None).await.expect_err("its digest is another one");
    assert!(refused.to_string().contains("sha256"), "{refused}");
    assert_eq!(ask(&host).await, ServiceState::Unhealthy, "what ran goes on");
}

fn every_file(folder: &Path, visit: &dyn Fn(&Path)) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() { every_file(&entry, visit) } else { visit(&entry) }
    }
}
