//! Guests that misbehave, against the default limits: each ends in time, with an error that says why, and the
//! next call and the daemon's own timers notice nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use supamanager::domain::{PluginChoices, ServiceName, ServiceState};
use supamanager::plugin_host::PluginHost;
use supamanager::plugin_host::hooks::{HookError, ProbeInput, ServiceAccess};

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, prober, renderer};
use crate::{load, project, render_input};

async fn render(body: &str, extra: &str) -> (HookError, Duration) {
    let plugins = Plugins::of("render", extra, &renderer(body));
    let host = load(plugins.folder()).await.expect("it loads");
    let started = Instant::now();
    let error = host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect_err("it fails");
    // The next call begins with a new instance: whatever happened, it ends the same way, not worse.
    if started.elapsed() < Duration::from_secs(1) {
        let again = host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect_err("it fails again");
        assert_eq!(again.code(), error.code());
    }
    (error, started.elapsed())
}

fn probe_input() -> ProbeInput {
    let service = ServiceName::parse("auth").expect("a service");
    ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() }
}

async fn prober_host(body: &str, extra: &str) -> (Plugins, PluginHost) {
    let plugins = Plugins::of("probe", extra, &prober(body));
    let host = load(plugins.folder()).await.expect("it loads");
    (plugins, host)
}

#[track_caller]
fn is_limit(error: &HookError, wanted: &str, words: &[&str]) {
    assert!(matches!(error, HookError::Limit { limit, .. } if *limit == wanted), "{error}");
    assert_eq!(error.code(), "plugin_limit");
    for word in words {
        assert!(error.to_string().contains(word), "`{word}` is not in: {error}");
    }
}

pub const ENDLESS: &str = "(loop $again (br $again)) (unreachable)";

/// How long a sleep of one millisecond took at worst while `guests` ran.
async fn worst_nap<T>(guests: impl Future<Output = T>) -> (T, Duration) {
    let mut guests = std::pin::pin!(guests);
    let mut worst = Duration::ZERO;
    loop {
        let began = Instant::now();
        tokio::select! {
            result = &mut guests => return (result, worst),
            () = tokio::time::sleep(Duration::from_millis(1)) => worst = worst.max(began.elapsed()),
        }
    }
}

#[tokio::test]
async fn endless_loops_end_in_time_and_the_daemon_does_not_notice() {
    let plugins = Plugins::of("render", "", &renderer(ENDLESS));
    let host = load(plugins.folder()).await.expect("it loads");
    let pins = host.pins(&PluginChoices::default());
    let started = Instant::now();
    let four = futures_util::future::join_all((0..4).map(|_| host.render(&pins, render_input())));
    let (ended, nap) = worst_nap(four).await;
    for result in ended {
        let error = result.expect_err("it never answers");
        // On a busy machine the five seconds of wall clock may be over before the two of processor time.
        assert!(matches!(error, HookError::Limit { limit: "CPU" | "wall clock", .. }), "{error}");
    }
    // Five seconds by the default limits; ten times that on a machine that does other things too.
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    assert!(nap < Duration::from_millis(500), "a sleep of 1 ms took {nap:?}");
}

#[tokio::test]
async fn processor_time_is_what_one_loop_is_stopped_by() {
    let (error, _) = render(ENDLESS, "[hook.limits]\ncpu_ms = 100").await;
    is_limit(&error, "CPU", &["`guest`", "allowed 100 ms", "`cpu_ms` of the hook `render`"]);
}

#[tokio::test]
async fn a_memory_hog_is_stopped_and_told_that_it_was_memory() {
    let hog = "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (unreachable)";
    let (error, took) = render(hog, "").await;
    is_limit(&error, "memory", &["allowed 64.0 MiB", "memory_mib"]);
    assert!(took < Duration::from_secs(10), "{took:?}");
    let (error, _) = render(hog, "[hook.limits]\nmemory_mib = 1").await;
    is_limit(&error, "memory", &["allowed 1.0 MiB"]);
}

#[tokio::test]
async fn traps_have_their_own_names() {
    let (error, _) = render("(unreachable)", "").await;
    assert!(matches!(&error, HookError::Trap { message, .. } if message.contains("unreachable")), "{error}");
    let (error, _) = render("(drop (i32.load (i32.const -16))) (unreachable)", "").await;
    assert!(matches!(&error, HookError::Trap { message, .. } if message.contains("out of bounds")), "{error}");
}

#[tokio::test]
async fn endless_recursion_is_a_trap() {
    // The text ends the body of `render` and begins a function beside it.
    let (error, _) = render("(call $dive) (unreachable)) (func $dive (call $dive)", "").await;
    assert!(matches!(&error, HookError::Trap { message, .. } if message.contains("stack")), "{error}");
}

/// `ok` with one file whose content is so many bytes of memory: list at 4096, {path ptr, len, mode, content ptr, len}.
pub fn file_of(bytes: u32) -> String {
    let pages = bytes / 65_536 + 2;
    format!(
        "(drop (memory.grow (i32.const {pages})))
         (i32.store (i32.const 4096) (i32.const 16)) (i32.store (i32.const 4100) (i32.const 5))
         (i32.store (i32.const 4104) (i32.const 420))
         (i32.store (i32.const 4108) (i32.const 65536)) (i32.store (i32.const 4112) (i32.const {bytes}))
         (drop (call $ok))
         (i32.store (i32.const 2056) (i32.const 4096)) (i32.store (i32.const 2060) (i32.const 1))
         (i32.const 2048)"
    )
}

#[tokio::test]
async fn an_answer_is_bounded_before_and_after_the_crossing() {
    let plugins = Plugins::of("render", "", &renderer(&file_of(1 << 20)));
    let host = load(plugins.folder()).await.expect("it loads");
    let files = host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect("one mebibyte is allowed");
    assert_eq!((files[0].path.as_str(), files[0].content.len()), ("guest", 1 << 20));

    let (error, _) = render(&file_of(5 << 20), "").await;
    is_limit(&error, "result bytes", &["used 5.0 MiB", "allowed 4.0 MiB"]);
    let (error, _) = render(&file_of(20 << 20), "").await;
    is_limit(&error, "bytes handed over", &["allowed 8.0 MiB", "result_kib"]);
    let (error, _) = render(&file_of(1 << 20).replace("65536", "-4096"), "").await;
    assert!(matches!(&error, HookError::Trap { .. }), "{error}");
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let body = format!("(i32.store8 (i32.const 16) (i32.const 255)) {}", file_of(1));
    let (error, _) = render(&body, "").await;
    assert!(matches!(&error, HookError::Trap { message, .. } if message.to_lowercase().contains("utf-8")), "{error}");
}

#[tokio::test]
async fn a_storm_of_host_calls_is_stopped() {
    let (error, _) = render("(loop $again (call $log (i32.const 0)) (br $again)) (unreachable)", "").await;
    is_limit(&error, "host calls", &["used 1001", "allowed 1000"]);
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_the_call_goes_on() {
    let flood = "(local $n i32)
        (loop $again (call $log (i32.const 60000)) (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 900))))
        (call $ok)";
    let plugins = Plugins::of("render", "", &renderer(flood));
    let host = load(plugins.folder()).await.expect("it loads");
    assert!(host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect("it answers").is_empty());
}

/// A GET to `auth:80/` with this deadline, whose answer nobody reads.
pub fn ask_auth(deadline_ms: u32) -> String {
    format!(
        "(i32.store8 (i32.const 40) (i32.const 47)) (; / ;)
         (i32.store (i32.const 44) (i32.const 0x00544547)) (; GET ;)
         (i32.store (i32.const 48) (i32.const 0x68747561)) (; auth ;)
         (call $send (i32.const 48) (i32.const 4) (i32.const 80) (i32.const 44) (i32.const 3) (i32.const 40) (i32.const 1)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const {deadline_ms}) (i32.const 8192))"
    )
}

#[tokio::test]
async fn waiting_in_a_host_call_ends_at_its_own_deadline_or_with_the_call() {
    let silent: Arc<dyn ServiceAccess> = Fake::answering(Answer::Silence);
    let lowered = "[hook.limits]\nwall_ms = 400";

    let (_plugins, host) = prober_host(&format!("{} (unreachable)", ask_auth(50)), lowered).await;
    let error = host.probe(probe_input(), silent.clone()).await.expect_err("it traps after its deadline");
    assert!(matches!(error, HookError::Trap { .. }), "{error}");

    let forever = format!("(loop $again {} (br $again)) (unreachable)", ask_auth(u32::MAX >> 1));
    let (_plugins, host) = prober_host(&forever, lowered).await;
    let started = Instant::now();
    let error = host.probe(probe_input(), silent).await.expect_err("nobody answers");
    is_limit(&error, "wall clock", &["allowed 400 ms", "wall_ms"]);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_ends() {
    let (_plugins, host) = prober_host(&format!("{} (unreachable)", ask_auth(5_000)), "").await;
    let fake = Fake::answering(Answer::Silence);
    let access: Arc<dyn ServiceAccess> = fake.clone();
    let call = tokio::time::timeout(Duration::from_millis(300), host.probe(probe_input(), access));
    assert!(call.await.is_err(), "the service is silent for five seconds");
    let ended = tokio::time::timeout(Duration::from_secs(5), async {
        while Arc::strong_count(&fake) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    ended.await.expect("the way to the service is let go of");
}

#[tokio::test]
async fn a_probe_that_keeps_failing_is_left_alone_and_its_verdict_is_unknown() {
    let (_plugins, host) = prober_host("(unreachable)", "").await;
    let access: Arc<dyn ServiceAccess> = Fake::answering(Answer::Silence);
    for _ in 0..5 {
        assert!(matches!(host.probe(probe_input(), access.clone()).await, Err(HookError::Trap { .. })));
    }
    let report = host.probe(probe_input(), access).await.expect("an answer");
    assert_eq!(report.state, ServiceState::Unknown);
    assert!(report.reason.contains("`guest`") && report.reason.contains("30 s"), "{}", report.reason);
}

#[tokio::test]
async fn more_calls_than_there_are_slots_wait_for_each_other() {
    let plugins = Plugins::of("render", "", &renderer("(call $ok)"));
    let host = load(plugins.folder()).await.expect("it loads");
    let pins = host.pins(&PluginChoices::default());
    let many = futures_util::future::join_all((0..500).map(|_| host.render(&pins, render_input())));
    assert!(many.await.into_iter().all(|result| result.is_ok()));
}
