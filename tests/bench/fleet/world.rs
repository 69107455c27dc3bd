//! A fleet on disk: the daemon's data folder, a token, and what the fake engine has. The world is written down so that the
//! measured daemon begins in a process of its own, as it does after a restart: with nothing in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use supamanager::backend::Labels;
use supamanager::clock::Clock;
use supamanager::config::Config;
use supamanager_tests::fake::{Container, FakeEngine, Network, State, Volume};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).to_owned()
}

/// The configuration of every daemon here: the defaults, but for places.
pub fn config(folder: &Path) -> Config {
    let mut config = Config {
        data_dir: folder.join("data"),
        plugins_dir: root().join("target/plugins"),
        templates_dir: root().join("templates"),
        ..Config::default()
    };
    // Below what the kernel gives to the clients of this bench.
    config.ports.api = "12000-12999".to_owned();
    config.ports.db = "13000-13999".to_owned();
    config
}

/// An engine with all images that answers as the default set's probes expect.
pub fn engine(config: &Config) -> anyhow::Result<FakeEngine> {
    let clock = Clock::system();
    let engine = FakeEngine::new(1, Arc::new(move || clock.now()));
    let templates = supamanager::templates::Templates::load(&config.templates_dir)?;
    let set = templates.set(&config.template_set).map_err(|known| anyhow::anyhow!("no such set: {known:?}"))?;
    engine.answer_like(&set.spec);
    Ok(engine)
}

/// Writes down what the engine has.
pub fn write(engine: &FakeEngine, file: &Path) -> anyhow::Result<()> {
    let world = engine.look();
    let containers: Vec<Value> = world.containers.values().map(container).collect();
    let networks: Vec<Value> = (world.networks.values())
        .map(|n| json!({"id": n.id, "name": n.name, "subnet": n.subnet, "labels": labels(&n.labels)}))
        .collect();
    let volumes: Vec<Value> =
        (world.volumes.iter()).map(|(name, v)| json!({"name": name, "folder": v.folder, "labels": labels(&v.labels)})).collect();
    let all = json!({"containers": containers, "networks": networks, "volumes": volumes, "images": world.images});
    Ok(std::fs::write(file, all.to_string())?)
}

/// Gives an empty engine what was written down.
pub fn read(engine: &FakeEngine, file: &Path) -> anyhow::Result<()> {
    let all: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let mut world = engine.look();
    let list = |name: &str| all[name].as_array().cloned().with_context(|| format!("{name} in {}", file.display()));
    for value in list("containers")? {
        let container = container_of(&value).with_context(|| format!("a container: {value}"))?;
        world.containers.insert(container.id.clone(), container);
    }
    for value in list("networks")? {
        let (id, name, subnet) = (text(&value, "id"), text(&value, "name"), text(&value, "subnet"));
        world.networks.insert(id.clone(), Network { id, name, subnet, labels: labels_of(&value["labels"]), composed: None });
    }
    for value in list("volumes")? {
        let volume = Volume { labels: labels_of(&value["labels"]), folder: text(&value, "folder").into() };
        world.volumes.insert(text(&value, "name"), volume);
    }
    world.images = serde_json::from_value(all["images"].clone())?;
    Ok(())
}

fn container(container: &Container) -> Value {
    json!({
        "id": container.id,
        "name": container.name,
        "labels": labels(&container.labels),
        "since": if let State::Running { since } = container.state { Some(since) } else { None },
        "digest": container.digest,
        "network": container.network,
        "network_id": container.network_id,
        "fixed": container.fixed,
        "address": container.address,
        "ports": container.ports,
        "volumes": container.volumes,
        "folders": container.folders,
    })
}

fn container_of(value: &Value) -> Option<Container> {
    Some(Container {
        id: text(value, "id"),
        name: text(value, "name"),
        labels: labels_of(&value["labels"]),
        // Long enough ago that nothing is news.
        state: State::Running { since: value["since"].as_i64()? - 3_600_000 },
        digest: text(value, "digest"),
        network: text(value, "network"),
        network_id: serde_json::from_value(value["network_id"].clone()).ok()?,
        fixed: serde_json::from_value(value["fixed"].clone()).ok()?,
        address: serde_json::from_value(value["address"].clone()).ok()?,
        ports: serde_json::from_value(value["ports"].clone()).ok()?,
        volumes: serde_json::from_value(value["volumes"].clone()).ok()?,
        folders: serde_json::from_value(value["folders"].clone()).ok()?,
        ..Container::default()
    })
}

fn labels(labels: &Option<Labels>) -> Value {
    labels.as_ref().map_or(Value::Null, |labels| json!(labels.to_map()))
}

fn labels_of(value: &Value) -> Option<Labels> {
    let map: BTreeMap<String, String> = serde_json::from_value(value.clone()).ok()?;
    Labels::from_map(|key| map.get(key).map(String::as_str))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
