//! What calls cost is counted, by plugin and hook, whichever way they end.

use std::time::Duration;

use supamanager::domain::{PluginChoices, ServiceName};
use supamanager::plugin_host::hooks::ProbeInput;
use supamanager::plugin_host::{HookInfo, PluginHost};
use supamanager::telemetry::Metrics;

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, prober, renderer};
use crate::hostile::ask_auth;
use crate::{load, project, render_input};

fn hook(host: &PluginHost) -> HookInfo {
    host.list().remove(0).hooks.remove(0)
}

#[tokio::test]
async fn calls_are_counted_by_their_outcome_and_the_last_error_is_kept() {
    let plugins = Plugins::of("render", "", &renderer("(call $log (i32.const 5)) (call $ok)"));
    let host = load(plugins.folder()).await.expect("it loads");
    assert!(hook(&host).usage.calls.is_empty(), "loading is no call of the hook");
    for _ in 0..3 {
        host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect("rendered");
    }
    let usage = hook(&host).usage;
    assert_eq!((usage.calls, usage.last_error), ([("ok", 3)].into(), None));
    assert_eq!((usage.host_calls, usage.denied.len()), ([("log", 3)].into(), 0));
    assert!(usage.took > Duration::ZERO && usage.cpu > Duration::ZERO && usage.took >= usage.cpu, "{:?}", usage.took);
    // Two pages of 64 KiB, and what the component's own shims have.
    assert!(usage.memory_peak_bytes >= 128 << 10, "{}", usage.memory_peak_bytes);

    let text = Metrics::new(host.metrics()).text(&[]).expect("text");
    for line in [
        "supamanager_plugin_calls_total{plugin=\"guest\",hook=\"render\",outcome=\"ok\",limit=\"\"} 3",
        "supamanager_plugin_host_calls_total{plugin=\"guest\",hook=\"render\",interface=\"log\"} 3",
        "supamanager_plugin_call_duration_seconds_count{plugin=\"guest\",hook=\"render\"} 3",
        "supamanager_plugin_load_duration_seconds_count{plugin=\"guest\",cache=\"miss\"} 1",
        "supamanager_plugin_loaded{plugin=\"guest\",version=\"1.0.0\",digest=\"sha256:",
    ] {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}

#[tokio::test]
async fn a_limit_is_counted_by_its_kind_and_a_trap_as_one() {
    for (body, code, kind) in
        [("(drop (memory.grow (i32.const 60000))) (unreachable)", "plugin_limit", "memory"), ("(unreachable)", "plugin_trap", "")]
    {
        let plugins = Plugins::of("render", "", &renderer(body));
        let host = load(plugins.folder()).await.expect("it loads");
        let error = host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect_err("it fails");
        let usage = hook(&host).usage;
        let last = usage.last_error.expect("an error");
        assert_eq!((usage.calls, last.code, last.message), ([(code, 1)].into(), code, error.to_string()));
        assert_eq!((last.project, last.at > 0), (Some(project()), true));
        let text = Metrics::new(host.metrics()).text(&[]).expect("text");
        let line =
            format!("supamanager_plugin_calls_total{{plugin=\"guest\",hook=\"render\",outcome=\"{code}\",limit=\"{kind}\"}} 1");
        assert!(text.contains(&line), "no `{line}` in:\n{text}");
    }
}

#[tokio::test]
async fn what_is_denied_is_counted_by_its_interface() {
    let plugins = Plugins::of("probe", "", &prober(&format!("{} (unreachable)", ask_auth(50))));
    let host = load(plugins.folder()).await.expect("it loads");
    let fake = Fake::answering(Answer::Http(200, ""));
    let service = ServiceName::parse("meta").expect("a service");
    let input = ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() };
    host.probe(input, fake.clone()).await.expect_err("it traps after its answer");
    let usage = hook(&host).usage;
    assert_eq!((usage.host_calls, usage.denied), ([("service-http", 1)].into(), [("service-http", 1)].into()));
    assert!(fake.asked().is_empty(), "a probe of meta asked auth: {:?}", fake.asked());
}
