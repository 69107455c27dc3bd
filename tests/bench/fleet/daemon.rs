//! The measured process: the daemon as `app` puts it together, on a fake engine that has what was made before.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use supamanager::app::{Lock, Outside, serve_on};
use supamanager::backend::Traced;
use supamanager_tests::fake::FakeEngine;

use crate::world;

/// Serves until it is told to end. Says `begins` when everything that is the bench's own is done; then answers every line
/// with the calls that the engine got so far.
pub async fn run(folder: &Path, port: u16) -> anyhow::Result<()> {
    let mut config = world::config(folder);
    config.listen = ([127, 0, 0, 1], port).into();
    supamanager::telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
    let engine = world::engine(&config)?;
    world::read(&engine, &folder.join("world.json"))?;
    std::thread::spawn({
        let engine = engine.clone();
        move || answer(&engine)
    });
    println!("begins");
    let outside = |_: &_, clock: &supamanager::clock::Clock| {
        Ok(Outside { backend: Arc::new(Traced::new(engine.clone(), clock.clone())), wire: Arc::new(engine) })
    };
    serve_on(config, None, Lock::Take, outside).await
}

fn answer(engine: &FakeEngine) {
    for _ in std::io::stdin().lock().lines() {
        let calls = engine.look().manners.calls.clone();
        let named = calls.into_iter().map(|(call, times)| (call.name().to_owned(), json!(times)));
        println!("{}", serde_json::Value::Object(named.collect()));
    }
}
