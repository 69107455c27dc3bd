//! What bad guests leave behind, and what their neighbours notice: nothing. In a process of its own, because the tests beside
//! this one use memory too.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use supamanager::domain::{PluginChoices, ServiceName, ServiceState};
use supamanager::plugin_host::PluginHost;
use supamanager::plugin_host::hooks::{ProbeInput, ServiceAccess};

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, component_describing, prober, renderer};
use crate::hostile::ask_auth;
use crate::{load, project, render_input};

/// Set in the process that does the work.
const ALONE: &str = "SUPAMANAGER_TEST_ALONE";

/// Runs a test of this file again, by itself; `false` in the process that is it.
fn alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    let output = again.args(["--exact", &format!("enduring::{test}"), "--nocapture"]).env(ALONE, "1").output().expect("it runs");
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

/// Name, body of `render`.
fn bad() -> Vec<(&'static str, String)> {
    let answer = |bytes: u32| {
        format!(
            "(i32.store (i32.const 4096) (i32.const 16)) (i32.store (i32.const 4100) (i32.const 5))
             (i32.store (i32.const 4108) (i32.const 0)) (i32.store (i32.const 4112) (i32.const {bytes}))
             (drop (call $ok)) (i32.store (i32.const 2056) (i32.const 4096)) (i32.store (i32.const 2060) (i32.const 1)) (i32.const 2048)"
        )
    };
    vec![
        ("trap", "(unreachable)".to_owned()),
        ("recursion", "(call $dive) (unreachable)) (func $dive (call $dive)".to_owned()),
        ("memory hog", "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (unreachable)".to_owned()),
        ("host call storm", "(loop $again (call $log (i32.const 0)) (br $again)) (unreachable)".to_owned()),
        ("output of 1 GiB", answer(1 << 30)),
        ("not UTF-8", format!("(i32.store8 (i32.const 16) (i32.const 255)) {}", answer(1))),
    ]
}

#[tokio::test]
async fn a_thousand_repeats_of_each_bad_guest_leave_no_memory_behind() {
    if alone("a_thousand_repeats_of_each_bad_guest_leave_no_memory_behind") {
        return;
    }
    for (name, body) in bad() {
        let plugins = Plugins::of("render", "", &renderer(&body));
        let host = load(plugins.folder()).await.expect("it loads");
        let pins = host.pins(&PluginChoices::default());
        let repeat = async |times: usize| {
            for _ in 0..times {
                host.render(&pins, render_input()).await.expect_err("it fails");
            }
        };
        repeat(200).await;
        let (before, begun) = (resident(), Instant::now());
        repeat(1_000).await;
        let grown = resident() - before;
        println!("    {name}: 1000 calls in {:.2} s, {grown} KiB more", begun.elapsed().as_secs_f64());
        // Four kibibytes a call would be one page each.
        assert!(grown < 4_000, "{name}: {grown} KiB more after 1000 calls");
    }
}

fn probe_input() -> ProbeInput {
    let service = ServiceName::parse("auth").expect("a service");
    ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() }
}

/// A prober that says healthy.
const HEALTHY: &str = "(i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
    (i32.store8 (i32.const 2060) (i32.const 0))
    (i32.store (i32.const 2064) (i32.const 16)) (i32.store (i32.const 2068) (i32.const 5))
    (i32.store (i32.const 2072) (i32.const 32)) (i32.store (i32.const 2076) (i32.const 5)) (i32.const 2048)";

/// A renderer called `zebra` that never answers.
fn endless_zebra() -> Vec<u8> {
    let exports = "(data (i32.const 5000) \"zebra\")
        (func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) (loop $again (br $again)) (unreachable))";
    let describe = "(func (export \"describe\") (result i32)
        (i32.store (i32.const 1024) (i32.const 5000)) (i32.store (i32.const 1028) (i32.const 5))
        (i32.store (i32.const 1032) (i32.const 32)) (i32.store (i32.const 1036) (i32.const 5))
        (i32.store (i32.const 1040) (i32.const 16)) (i32.store (i32.const 1044) (i32.const 5)) (i32.const 1024))";
    component_describing("render", "", exports, describe)
}

/// The time of each of a thousand probes at once, shortest first.
async fn a_thousand(host: &PluginHost) -> Vec<Duration> {
    let access: Arc<dyn ServiceAccess> = Fake::answering(Answer::Silence);
    let probe = async || {
        let begun = Instant::now();
        let report = host.probe(probe_input(), access.clone()).await.expect("a verdict");
        assert_eq!(report.state, ServiceState::Healthy);
        begun.elapsed()
    };
    let mut times = join_all((0..1_000).map(|_| probe())).await;
    times.sort();
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_probes_do_not_notice_an_endless_neighbour() {
    if alone("a_thousand_probes_do_not_notice_an_endless_neighbour") {
        return;
    }
    let plugins = Plugins::of("probe", "", &prober(HEALTHY));
    plugins.add("zebra", "render", "", &endless_zebra());
    let host = load(plugins.folder()).await.expect("they load");
    a_thousand(&host).await;
    let quiet = a_thousand(&host).await;
    let pins = host.pins(&PluginChoices::default());
    let neighbour = async { host.render(&pins, render_input()).await.expect_err("it never answers") };
    let (beside, error) = tokio::join!(a_thousand(&host), neighbour);
    assert_eq!(error.code(), "plugin_limit", "{error}");
    let p99 = |times: &[Duration]| times[times.len() * 99 / 100];
    let ratio = p99(&beside).as_secs_f64() / p99(&quiet).as_secs_f64();
    println!("    1000 probes at once: p99 {:?} alone, {:?} beside an endless guest ({ratio:.2}x)", p99(&quiet), p99(&beside));
    // It takes one of two cores until its limit: twice as long is fair, ten times is not.
    assert!(ratio < 10.0, "{ratio:.2}x");
}

#[tokio::test]
async fn slow_but_legal_is_let_be() {
    // Waits a second for a service that says nothing, of the five it has; then it answers.
    let plugins = Plugins::of("probe", "", &prober(&format!("{} {HEALTHY}", ask_auth(1_000))));
    let host = load(plugins.folder()).await.expect("it loads");
    let begun = Instant::now();
    let report = host.probe(probe_input(), Fake::answering(Answer::Silence)).await.expect("a verdict");
    assert!(report.state == ServiceState::Healthy && begun.elapsed() >= Duration::from_secs(1));
}
