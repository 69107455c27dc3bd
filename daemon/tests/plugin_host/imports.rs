//! Imports that no shipped plugin needs, called: the engine's own health check, and the clock.

use supamanager::domain::{PluginChoices, ServiceName, ServiceState};
use supamanager::plugin_host::hooks::{AccessError, ProbeInput};

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, component};
use crate::{load, project};

fn probe_input() -> ProbeInput {
    let service = ServiceName::parse("auth").expect("a service");
    ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() }
}

/// A prober with one import more, which answers with the state whose number its code leaves.
fn prober(name: &str, imports: &str, state: &str) -> Plugins {
    let export = format!(
        "(data (i32.const 48) \"auth\")
         (func (export \"check\") (param i32 i32 i32 i32 i32 i32) (result i32) (local $now i64)
            (i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
            (i32.store8 (i32.const 2060) {state})
            (i32.store (i32.const 2064) (i32.const 16)) (i32.store (i32.const 2068) (i32.const 5))
            (i32.store (i32.const 2072) (i32.const 32)) (i32.store (i32.const 2076) (i32.const 5)) (i32.const 2048))"
    );
    let plugins = Plugins::of("probe", "", &component("probe", imports, &export));
    let file = plugins.folder().join("guest/plugin.toml");
    let text = std::fs::read_to_string(&file).expect("a manifest");
    if !text.contains(&format!("\"{name}\"")) {
        std::fs::write(&file, text.replace("imports = [", &format!("imports = [\"{name}\", "))).expect("written");
    }
    plugins
}

#[tokio::test]
async fn what_the_engine_says_of_a_service_is_told() {
    let import = "(import \"supamanager:plugin/engine-health@0.1.0\" \"get\" (func $get (param i32 i32 i32)))";
    // Healthy if the answer is no error and its verdict is the third; else unhealthy.
    let state = "(block (result i32) (call $get (i32.const 48) (i32.const 4) (i32.const 3000))
        (select (i32.const 0) (i32.const 2)
            (i32.and (i32.eqz (i32.load8_u (i32.const 3000))) (i32.eq (i32.load8_u (i32.const 3004)) (i32.const 2)))))";
    let plugins = prober("engine-health", import, state);
    let host = load(plugins.folder()).await.expect("it loads");
    let healthy = Fake::answering(Answer::Http(200, ""));
    let report = host.probe(probe_input(), healthy.clone()).await.expect("a verdict");
    assert_eq!((report.state, healthy.asked()), (ServiceState::Healthy, vec!["engine auth".to_owned()]));
    let away = Fake::answering(Answer::Error(AccessError::Refused("the engine is away".to_owned())));
    assert_eq!(host.probe(probe_input(), away).await.expect("a verdict").state, ServiceState::Unhealthy);
}

#[tokio::test]
async fn the_clock_goes_forward_from_now() {
    let imports = "(import \"supamanager:plugin/clock@0.1.0\" \"now-ms\" (func $now (result i64)))
        (import \"supamanager:plugin/clock@0.1.0\" \"elapsed-ms\" (func $elapsed (result i64)))";
    // After 2026-01-01, before the year 2286, and no time has gone back.
    let state = "(block (result i32)
        (local.set $now (call $now))
        (select (i32.const 0) (i32.const 2)
            (i32.and
                (i32.and (i64.gt_u (local.get $now) (i64.const 1767225600000)) (i64.lt_u (local.get $now) (i64.const 9999999999999)))
                (i32.and (i64.ge_s (call $elapsed) (i64.const 0)) (i64.lt_u (call $elapsed) (i64.const 5000))))))";
    let plugins = prober("clock", imports, state);
    let host = load(plugins.folder()).await.expect("it loads");
    let report = host.probe(probe_input(), Fake::answering(Answer::Silence)).await.expect("a verdict");
    assert_eq!(report.state, ServiceState::Healthy);
}
