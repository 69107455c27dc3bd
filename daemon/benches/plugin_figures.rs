//! What the plugin host costs and how soon a bad guest is back, as one table: every line of one run, so that they compare. An
//! exec hook is what other hosts use in a plugin's place: a process for each call.

#[allow(dead_code, reason = "the tests ask more of it")]
#[path = "../tests/plugin_host/access.rs"]
mod access;
#[allow(dead_code, reason = "the tests ask more of it")]
#[path = "../tests/plugin_host/example.rs"]
mod example;
#[allow(dead_code, reason = "the tests ask more of it")]
#[path = "../tests/plugin_host/guests.rs"]
mod guests;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use supamanager::domain::{PluginChoices, ServiceName};
use supamanager::plugin_host::hooks::{ProbeInput, RenderInput, ServiceAccess};
use supamanager::plugin_host::{HostConfig, Leave, PluginHost};
use tokio::runtime::Runtime;

use access::{Answer, Fake};
use example::{example, plugins_dir};
use guests::{Plugins, prober, renderer};

/// Calls of each kind.
const CALLS: usize = 2_000;

/// Says healthy at once, with two empty texts.
const EMPTY: &str = "(i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
    (i32.store8 (i32.const 2060) (i32.const 0)) (i64.store (i32.const 2064) (i64.const 0))
    (i64.store (i32.const 2072) (i64.const 0)) (i32.const 2048)";
/// Asks a service that does not answer.
const WAITS: &str =
    "(call $send (i32.const 16) (i32.const 5) (i32.const 1) (i32.const 16) (i32.const 5) (i32.const 16) (i32.const 5)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 3000) (i32.const 3000)) (unreachable)";

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    println!("plugins, {CALLS} calls of each kind\n");
    let empty = calls(&runtime);
    let exec = exec();
    line("empty probe call, fresh instance", &empty);
    line("exec hook: a process that does nothing", &exec);
    println!(
        "{:<44} {:>9.1}x at p50, {:.1}x at p99\n",
        "exec hook over empty call",
        ratio(&exec, &empty, 0.5),
        ratio(&exec, &empty, 0.99)
    );
    loads(&runtime);
    memory(&runtime);
    hostile(&runtime);
}

fn host(runtime: &Runtime, folder: &Path) -> PluginHost {
    let config = HostConfig { leave: Leave::of_everything(), ..HostConfig::without_cache(folder) };
    runtime.block_on(PluginHost::load(config)).expect("it loads")
}

fn probe_input() -> ProbeInput {
    let service = ServiceName::parse("guest").expect("a service");
    ProbeInput { project: example().project, service, spec: "{}".to_owned(), choices: PluginChoices::default() }
}

fn calls(runtime: &Runtime) -> Vec<Duration> {
    let plugins = Plugins::of("probe", "", &prober(EMPTY));
    let (host, access): (_, Arc<dyn ServiceAccess>) = (host(runtime, plugins.folder()), Fake::answering(Answer::Silence));
    // Made once: the project comes out of the whole default set.
    let input = probe_input();
    let once = || {
        let (input, begun) = (input.clone(), Instant::now());
        runtime.block_on(host.probe(input, access.clone())).expect("a verdict");
        begun.elapsed()
    };
    let _warm: Vec<Duration> = (0..100).map(|_| once()).collect();
    sorted((0..CALLS).map(|_| once()).collect())
}

fn exec() -> Vec<Duration> {
    let once = |_| {
        let begun = Instant::now();
        assert!(Command::new("/bin/true").status().expect("/bin/true").success());
        begun.elapsed()
    };
    sorted((0..CALLS).map(once).collect())
}

/// Each shipped plugin, compiled and out of our own cache.
fn loads(runtime: &Runtime) {
    println!("{:<44} {:>12} {:>12}", "load of a plugin", "compiled", "cached");
    let cache = std::env::temp_dir().join(format!("supamanager-figures-{}", std::process::id()));
    for name in ["probe-service", "render-supabase"] {
        let only = Plugins::new();
        copy(&plugins_dir().join(name), &only.folder().join(name));
        let took = |cache: &Path| {
            let leave = Leave::of_everything();
            let config = HostConfig { cache: Some(cache.to_owned()), leave, ..HostConfig::without_cache(only.folder()) };
            let begun = Instant::now();
            runtime.block_on(PluginHost::load(config)).expect("it loads");
            begun.elapsed()
        };
        let (first, second) = (took(&cache), took(&cache));
        println!("{name:<44} {:>9.1} ms {:>9.1} ms", millis(first), millis(second));
    }
    let _ = std::fs::remove_dir_all(cache);
    println!();
}

fn memory(runtime: &Runtime) {
    let before = resident();
    let shipped = runtime.block_on(PluginHost::load(HostConfig::without_cache(&plugins_dir()))).expect("they load");
    let (count, loaded) = (shipped.list().len(), resident());
    let plugins = Plugins::of("probe", "", &prober(WAITS));
    let (host, access): (_, Arc<dyn ServiceAccess>) = (host(runtime, plugins.folder()), Fake::answering(Answer::Silence));
    let idle = resident();
    let input = probe_input();
    let during = runtime.block_on(async {
        let waiting = join_all((0..24).map(|_| host.probe(input.clone(), access.clone())));
        tokio::select! {
            _ = waiting => resident(),
            () = tokio::time::sleep(Duration::from_millis(1_500)) => resident(),
        }
    });
    println!("{:<44} {:>9} KiB", "memory per loaded plugin, engine included", (loaded - before) / count as i64);
    println!("{:<44} {:>9} KiB\n", "memory per concurrent call (24 that wait)", (during - idle) / 24);
}

/// From the first instruction to the answer, beside the limit that ends the guest.
fn hostile(runtime: &Runtime) {
    println!("{:<44} {:>12} {:>16}", "hostile guest", "returned in", "ended by");
    let answer = |bytes: u32| {
        format!(
            "(i32.store (i32.const 4096) (i32.const 16)) (i32.store (i32.const 4100) (i32.const 5))
             (i32.store (i32.const 4108) (i32.const 0)) (i32.store (i32.const 4112) (i32.const {bytes}))
             (drop (call $ok)) (i32.store (i32.const 2056) (i32.const 4096)) (i32.store (i32.const 2060) (i32.const 1)) (i32.const 2048)"
        )
    };
    let guests = [
        ("endless loop (CPU limit 2 s)", "(loop $again (br $again)) (unreachable)".to_owned()),
        ("memory hog (64 MiB)", "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (unreachable)".to_owned()),
        ("host call storm (1 000 calls)", "(loop $again (call $log (i32.const 0)) (br $again)) (unreachable)".to_owned()),
        ("endless recursion", "(call $dive) (unreachable)) (func $dive (call $dive)".to_owned()),
        ("answer of 1 GiB", answer(1 << 30)),
        ("trap", "(unreachable)".to_owned()),
    ];
    for (name, body) in guests {
        let plugins = Plugins::of("render", "", &renderer(&body));
        let host = host(runtime, plugins.folder());
        let input = RenderInput { files: Vec::new(), ..example() };
        let begun = Instant::now();
        let error = runtime.block_on(host.render(&host.pins(&PluginChoices::default()), input)).expect_err("it fails");
        let ended = error.limit().unwrap_or(error.code());
        println!("{name:<44} {:>9.1} ms {ended:>16}", millis(begun.elapsed()));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for file in ["plugin.toml", "plugin.wasm"] {
        std::fs::copy(from.join(file), to.join(file)).expect("copied");
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort();
    times
}

fn at(times: &[Duration], share: f64) -> f64 {
    times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6
}

fn ratio(one: &[Duration], other: &[Duration], share: f64) -> f64 {
    at(one, share) / at(other, share)
}

fn line(name: &str, times: &[Duration]) {
    println!("{name:<44} {:>9.0} us p50 {:>9.0} us p99", at(times, 0.5), at(times, 0.99));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// KiB of this process in memory.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
