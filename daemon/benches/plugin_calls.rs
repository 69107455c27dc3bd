//! What plugins cost: one render of the default set, one probe, and what a probe costs without its plugin. The
//! figures say whether anybody should give isolation up for speed.

#[allow(dead_code, reason = "the tests ask more of it")]
#[path = "../tests/plugin_host/access.rs"]
mod access;
#[path = "../tests/plugin_host/example.rs"]
mod example;

use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use supamanager::domain::{PluginChoices, ServiceName};
use supamanager::plugin_host::hooks::{AccessError, ProbeInput, ServiceAccess};
use supamanager::plugin_host::{HostConfig, PluginHost};
use tokio::runtime::Runtime;

use access::{Answer, Fake};
use example::{example, plugins_dir};

fn load(runtime: &Runtime) -> PluginHost {
    let config = HostConfig::without_cache(&plugins_dir());
    runtime.block_on(PluginHost::load(config)).expect("the shipped plugins load")
}

fn probe_input() -> ProbeInput {
    let spec = r#"{"kind":"http","port":9999,"path":"/health","json":{"pointer":"/name","equals":"GoTrue"}}"#;
    let service = ServiceName::parse("auth").expect("a service");
    ProbeInput { project: example().project, service, spec: spec.to_owned(), choices: PluginChoices::default() }
}

fn calls(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let host = load(&runtime);
    let pins = host.pins(&PluginChoices::default());

    let input = example();
    criterion.bench_function("render of the default set", |bench| {
        bench.iter(|| runtime.block_on(host.render(&pins, input.clone())).expect("it renders"));
    });

    let input = probe_input();
    let answering: Arc<dyn ServiceAccess> = Fake::answering(Answer::Http(200, r#"{"name":"GoTrue"}"#));
    criterion.bench_function("probe, answered", |bench| {
        bench.iter(|| runtime.block_on(host.probe(input.clone(), answering.clone())).expect("a report"));
    });
    let refusing: Arc<dyn ServiceAccess> = Fake::answering(Answer::Error(AccessError::Refused("nothing listens".into())));
    criterion.bench_function("probe, refused", |bench| {
        bench.iter(|| runtime.block_on(host.probe(input.clone(), refusing.clone())).expect("a report"));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots();
    targets = calls
}
criterion_main!(benches);
