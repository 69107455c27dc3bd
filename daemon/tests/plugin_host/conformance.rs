//! The guests of the plugin design's section 7, a row each, against the default limits: what a call or a load ends as and how
//! long that may take, that a neighbour's thousand calls come through meanwhile, and that a thousand repeats leave no memory
//! behind. In processes of their own, because the tests beside this one use memory and processors too.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use supamanager::domain::{PluginChoices, ServiceName, ServiceState};
use supamanager::plugin_host::hooks::{HookError, ProbeInput, ServiceAccess};
use supamanager::plugin_host::{LoadError, PluginHost};

use crate::access::{Answer, Fake};
use crate::example::plugins_dir;
use crate::guests::{Plugins, component_describing, prober, renderer, zebra};
use crate::hostile::{ENDLESS, ask_auth, file_of};
use crate::{load, project, render_input};

/// Set in the process that does the work.
const ALONE: &str = "SUPAMANAGER_TEST_ALONE";
/// Calls of a neighbour at once, and repeats of a guest.
const MANY: usize = 1_000;

/// Runs a test of this file again, by itself; `false` in the process that is it.
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    let name = format!("conformance::{test}");
    let output = again.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter(|line| line.starts_with("    ")).for_each(|line| println!("{line}"));
    true
}

/// KiB of this process in memory.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// A guest that misbehaves, or only looks as if.
struct Guest {
    name: &'static str,
    hook: &'static str,
    bytes: Vec<u8>,
    /// What it may end as.
    ends: &'static [&'static str],
    /// By when. Limits of processor time and of the wall clock have tenfold slack.
    within: Duration,
    /// Limits for the repeats, where the default ones are seconds.
    short: &'static str,
    /// The guest of the repeats, where it is another one.
    repeated: Option<Vec<u8>>,
}

impl Guest {
    fn rendering(name: &'static str, body: &str, ends: &'static [&'static str]) -> Self {
        Self::of("render", name, renderer(body), ends)
    }

    fn of(hook: &'static str, name: &'static str, bytes: Vec<u8>, ends: &'static [&'static str]) -> Self {
        Self { name, hook, bytes, ends, within: Duration::from_secs(10), short: "", repeated: None }
    }

    fn within(self, seconds: u64) -> Self {
        Self { within: Duration::from_secs(seconds), ..self }
    }

    fn short(self, short: &'static str) -> Self {
        Self { short, ..self }
    }

    fn repeated(self, bytes: Vec<u8>) -> Self {
        Self { repeated: Some(bytes), ..self }
    }

    /// A folder with it, as it is or as it is repeated.
    fn folder(&self, repeated: bool) -> Plugins {
        let bytes = self.repeated.as_ref().filter(|_| repeated).unwrap_or(&self.bytes);
        let plugins = Plugins::new();
        if self.name == "panic" {
            // Of the SDK, which `make guests` has built: it says another name.
            let folder = plugins.folder().join("panics");
            std::fs::create_dir_all(&folder).expect("a folder");
            for file in ["plugin.toml", "plugin.wasm"] {
                std::fs::copy(panics().join(file), folder.join(file)).expect("`make guests` has built it");
            }
            return plugins;
        }
        let folder = plugins.add("guest", self.hook, if repeated { self.short } else { "" }, bytes);
        match self.name {
            "ungranted import" => edit(&folder, "imports = [\"log\", \"templates\"]", "imports = [\"templates\"]"),
            "wrong contract version" => edit(&folder, "contract = \"0.1.0\"", "contract = \"0.9.0\""),
            // As large as a file may be and a byte more, without the bytes.
            "huge component" => {
                let file = std::fs::File::options().write(true).open(folder.join("plugin.wasm")).expect("plugin.wasm");
                file.set_len((64 << 20) + 1).expect("a hole");
            }
            _ => {}
        }
        plugins
    }

    fn is_loaded(&self) -> bool {
        self.ends.iter().all(|end| !end.starts_with("load: "))
    }
}

fn edit(folder: &Path, from: &str, to: &str) {
    let file = folder.join("plugin.toml");
    let text = std::fs::read_to_string(&file).expect("plugin.toml");
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(file, text.replace(from, to)).expect("plugin.toml");
}

fn panics() -> PathBuf {
    plugins_dir().join("../guests/panics")
}

/// Every guest that section 7 names.
fn guests() -> Vec<Guest> {
    let flood = "(local $n i32)
        (loop $again (call $log (i32.const 60000)) (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 900))))
        (call $ok)";
    let describe = "(func (export \"describe\") (result i32) (loop $again (br $again)) (unreachable))";
    let exports = "(func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) (call $ok))";
    let hog = "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (unreachable)";
    // Its length is said, and cannot be there: no guest has so much memory.
    let gigabyte = file_of(1).replace("(i32.const 4112) (i32.const 1)", "(i32.const 4112) (i32.const 1073741824)");
    let good = renderer("(call $ok)");
    let logging = renderer("(call $log (i32.const 5)) (call $ok)");
    let waits = |ms: u32| prober(&format!("(loop $again {} (br $again)) (unreachable)", ask_auth(ms)));
    let patient = |ms: u32| prober(&format!("{} {HEALTHY}", ask_auth(ms)));
    vec![
        Guest::rendering("endless loop", ENDLESS, &["limit: CPU", "limit: wall clock"]).within(50).short(CPU),
        Guest::of("render", "endless describe", component_describing("render", "", exports, describe), &["load: describe"])
            .within(50)
            .short(CPU),
        Guest::rendering("memory hog", hog, &["limit: memory"]),
        Guest::rendering("output of 1 GiB", &gigabyte, &["trap"]),
        Guest::rendering("output of 20 MiB", &file_of(20 << 20), &["limit: bytes handed over"]),
        Guest::rendering("log flood", flood, &["answer"]),
        Guest::rendering("trap", "(unreachable)", &["trap"]),
        Guest::of("render", "panic", Vec::new(), &["trap"]),
        Guest::rendering("stack overflow", "(call $dive) (unreachable)) (func $dive (call $dive)", &["trap"]),
        Guest::of("probe", "sleeping in a host call", waits(u32::MAX >> 1), &["limit: wall clock"])
            .within(50)
            .short("[hook.limits]\nwall_ms = 10"),
        Guest::rendering(
            "host call storm",
            "(loop $again (call $log (i32.const 0)) (br $again)) (unreachable)",
            &["limit: host calls"],
        ),
        Guest::of("render", "ungranted import", logging, &["load: import"]),
        Guest::of("render", "wrong contract version", good.clone(), &["load: manifest"]),
        Guest::of("render", "garbage bytes", b"not wasm at all".to_vec(), &["load: component"]),
        Guest::of("render", "truncated file", good[..good.len() - 1].to_vec(), &["load: component"]),
        Guest::of("render", "huge component", good, &["load: component"]),
        Guest::rendering("non-UTF-8", &format!("(i32.store8 (i32.const 16) (i32.const 255)) {}", file_of(1)), &["trap"]),
        Guest::of("probe", "slow but legal", patient(1_000), &["answer"]).repeated(patient(10)),
    ]
}

/// The shortest that is kept: the clock of limits ticks every 10 ms.
const CPU: &str = "[hook.limits]\ncpu_ms = 1";

/// A prober that says healthy.
const HEALTHY: &str = "(i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
    (i32.store8 (i32.const 2060) (i32.const 0))
    (i32.store (i32.const 2064) (i32.const 16)) (i32.store (i32.const 2068) (i32.const 5))
    (i32.store (i32.const 2072) (i32.const 32)) (i32.store (i32.const 2076) (i32.const 5)) (i32.const 2048)";

fn probe_input() -> ProbeInput {
    let service = ServiceName::parse("auth").expect("a service");
    ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() }
}

/// One call of a host's only plugin for the hook.
async fn call(host: &PluginHost, hook: &str) -> &'static str {
    if hook == "probe" {
        let silent: Arc<dyn ServiceAccess> = Fake::answering(Answer::Silence);
        return end(host.probe(probe_input(), silent).await.map(|report| assert_eq!(report.state, ServiceState::Healthy)));
    }
    end(host.render(&host.pins(&PluginChoices::default()), render_input()).await.map(drop))
}

fn end(result: Result<(), HookError>) -> &'static str {
    match result {
        Ok(()) => "answer",
        Err(HookError::Trap { .. }) => "trap",
        Err(HookError::Limit { limit, .. }) => match limit {
            "CPU" => "limit: CPU",
            "wall clock" => "limit: wall clock",
            "memory" => "limit: memory",
            "host calls" => "limit: host calls",
            "bytes handed over" => "limit: bytes handed over",
            other => panic!("a limit of another name: {other}"),
        },
        Err(other) => panic!("an error of another class: {other}"),
    }
}

/// One load of a folder whose guest is refused.
async fn refused(folder: &Path) -> &'static str {
    match load(folder).await {
        Ok(_) => "loaded",
        Err(LoadError::Manifest { .. }) => "load: manifest",
        Err(LoadError::Component { .. }) => "load: component",
        Err(LoadError::Import { .. }) => "load: import",
        Err(LoadError::Describe { .. }) => "load: describe",
        Err(other) => panic!("an error of another class: {other}"),
    }
}

/// The neighbour of a guest: a plugin of the other hook in the same host.
fn add_neighbour(plugins: &Plugins, guest: &Guest) -> &'static str {
    if guest.hook == "probe" {
        let export = "(func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) (call $ok))";
        plugins.add("zebra", "render", "", &zebra("render", export));
        return "render";
    }
    let export = format!("(func (export \"check\") (param i32 i32 i32 i32 i32 i32) (result i32) {HEALTHY})");
    plugins.add("zebra", "probe", "", &zebra("probe", &export));
    "probe"
}

/// A thousand calls of the neighbour at once, each of which must answer; the 99th percentile of their times.
async fn a_thousand(host: &PluginHost, hook: &str) -> Duration {
    let timed = async || {
        let begun = Instant::now();
        assert_eq!(call(host, hook).await, "answer", "a neighbour's call");
        begun.elapsed()
    };
    let mut times = join_all((0..MANY).map(|_| timed())).await;
    times.sort();
    times[MANY * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_guest_ends_as_it_should_and_its_neighbours_come_through() {
    if alone("each_guest_ends_as_it_should_and_its_neighbours_come_through") {
        return;
    }
    println!("    {:<24} {:<28} {:>9} {:>7} {:>10} {:>10}", "guest", "ends as", "at most", "times", "p99 alone", "p99 beside");
    for guest in guests() {
        let plugins = if guest.is_loaded() { guest.folder(false) } else { Plugins::new() };
        let neighbour = add_neighbour(&plugins, &guest);
        let host = load(plugins.folder()).await.expect("they load");
        a_thousand(&host, neighbour).await;
        let quiet = a_thousand(&host, neighbour).await;
        let bad = if guest.is_loaded() { None } else { Some(guest.folder(false)) };
        let enough = AtomicBool::new(false);
        let (mut longest, mut times, mut ended) = (Duration::ZERO, 0, "");
        let misbehaving = async {
            while times == 0 || !enough.load(Ordering::Relaxed) {
                let begun = Instant::now();
                ended = match &bad {
                    Some(bad) => refused(bad.folder()).await,
                    None => call(&host, guest.hook).await,
                };
                assert!(guest.ends.contains(&ended), "{}: {ended}", guest.name);
                longest = longest.max(begun.elapsed());
                times += 1;
                assert!(longest < guest.within, "{} took {longest:?}", guest.name);
                tokio::task::yield_now().await;
            }
        };
        let beside = async {
            // It is under way when the thousand begin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let p99 = a_thousand(&host, neighbour).await;
            enough.store(true, Ordering::Relaxed);
            p99
        };
        let ((), beside) = tokio::join!(misbehaving, beside);
        println!("    {:<24} {ended:<28} {longest:>9.1?} {times:>7} {quiet:>10.1?} {beside:>10.1?}", guest.name);
    }
}

#[tokio::test]
async fn a_thousand_repeats_of_each_guest_leave_no_memory_behind() {
    if alone("a_thousand_repeats_of_each_guest_leave_no_memory_behind") {
        return;
    }
    for guest in guests() {
        let plugins = guest.folder(true);
        let host = if guest.is_loaded() { Some(load(plugins.folder()).await.expect("it loads")) } else { None };
        let repeat = async |times: usize| {
            for _ in 0..times {
                let ended = match &host {
                    Some(host) => call(host, guest.hook).await,
                    None => refused(plugins.folder()).await,
                };
                assert!(guest.ends.contains(&ended), "{}: {ended}", guest.name);
            }
        };
        repeat(100).await;
        let (before, begun) = (resident(), Instant::now());
        repeat(MANY).await;
        let grown = resident() - before;
        println!("    {}: {MANY} times in {:.2} s, {grown} KiB more", guest.name, begun.elapsed().as_secs_f64());
        // Four kibibytes a time would be one page each.
        assert!(grown < 4_000, "{}: {grown} KiB more after {MANY} times", guest.name);
    }
}

#[tokio::test]
async fn a_panic_leaves_its_words_in_the_log() {
    let bench = supamanager::plugin_host::Bench::load(&panics()).await.expect("it loads");
    let given = serde_json::json!({"input": {"context": {}, "files": [], "templates": {}}});
    let tried = bench.call(&serde_json::from_value(given).expect("a fixture")).await.expect("a fixture");
    assert_eq!(tried.outcome()["error"]["code"], "plugin_trap", "{}", tried.outcome());
    let said = tried.lines.join("\n");
    assert!(said.contains("the cellar is under water, 0 files are wet"), "{said}");
}
