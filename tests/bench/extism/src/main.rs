//! What an empty call costs in Extism: the lines that `daemon/benches/plugin_figures.rs` prints of our own host, in the same
//! run. It brings a wasmtime of its own. Our host makes an instance for each call; Extism keeps one, unless it is told otherwise.

use std::time::{Duration, Instant};

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};

/// As in `daemon/benches/plugin_figures.rs`.
const CALLS: usize = 2_000;
/// Answers nothing, successfully.
const EMPTY: &str = "(module (memory (export \"memory\") 2) (func (export \"check\") (result i32) (i32.const 0)))";

fn main() {
    let manifest = Manifest::new([Wasm::data(wat::parse_str(EMPTY).expect("WebAssembly text"))]);
    let compiled = CompiledPlugin::new(PluginBuilder::new(manifest).with_wasi(false)).expect("it compiles");
    let fresh = || Plugin::new_from_compiled(&compiled).expect("an instance");
    line("empty call in Extism, fresh instance", measured(|| call(&mut fresh())));
    let mut kept = fresh();
    line("empty call in Extism, one instance kept", measured(|| call(&mut kept)));
}

fn call(plugin: &mut Plugin) {
    let answer: Vec<u8> = plugin.call("check", "{}").expect("an answer");
    assert!(answer.is_empty());
}

fn measured(mut once: impl FnMut()) -> Vec<Duration> {
    let mut timed = || {
        let begun = Instant::now();
        once();
        begun.elapsed()
    };
    let _warm: Vec<Duration> = (0..100).map(|_| timed()).collect();
    let mut times: Vec<Duration> = (0..CALLS).map(|_| timed()).collect();
    times.sort();
    times
}

fn line(name: &str, times: Vec<Duration>) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{name:<44} {:>9.0} us p50 {:>9.0} us p99", at(0.5), at(0.99));
}
