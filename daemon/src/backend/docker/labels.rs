//! Labels on the wire: ours, the rendered file's, and Compose's own, so that `docker compose -p <ref> ps` and `logs`
//! show a project that Compose did not start (decision 16).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::backend::{Labels, keys};
use crate::domain::{InstallationId, ProjectRef};

/// Labels of a container.
pub fn of_container(rendered: &BTreeMap<String, String>, labels: &Labels, folder: &Path) -> HashMap<String, String> {
    let mut map = base(rendered, labels);
    let service = labels.service.as_ref().map(ToString::to_string).unwrap_or_default();
    let folder = folder.display();
    compose(&mut map, "project", labels.project.to_string());
    compose(&mut map, "service", service);
    compose(&mut map, "oneoff", "False".to_owned());
    compose(&mut map, "container-number", "1".to_owned());
    compose(&mut map, "config-hash", labels.spec_hash.clone());
    compose(&mut map, "project.working_dir", folder.to_string());
    compose(&mut map, "project.config_files", format!("{folder}/docker-compose.yml"));
    map
}

/// Labels of the project's network, which Compose calls `default`.
pub fn of_network(rendered: &BTreeMap<String, String>, labels: &Labels) -> HashMap<String, String> {
    let mut map = base(rendered, labels);
    compose(&mut map, "project", labels.project.to_string());
    compose(&mut map, "network", "default".to_owned());
    map
}

/// Labels of a volume.
pub fn of_volume(rendered: &BTreeMap<String, String>, labels: &Labels, key: &str) -> HashMap<String, String> {
    let mut map = base(rendered, labels);
    compose(&mut map, "project", labels.project.to_string());
    compose(&mut map, "volume", key.to_owned());
    map
}

/// Labels of a short-lived helper, which is no part of the stack and so has none of Compose's.
pub fn of_helper(labels: &Labels) -> HashMap<String, String> {
    let mut map = base(&BTreeMap::new(), labels);
    map.insert(keys::ROLE.to_owned(), "helper".to_owned());
    map
}

/// Ours win over the file's.
fn base(rendered: &BTreeMap<String, String>, labels: &Labels) -> HashMap<String, String> {
    rendered.clone().into_iter().chain(labels.to_map()).collect()
}

fn compose(map: &mut HashMap<String, String>, key: &str, value: String) {
    map.insert(format!("com.docker.compose.{key}"), value);
}

/// Reads ours back.
pub fn read(map: &HashMap<String, String>) -> Option<Labels> {
    Labels::from_map(|key| map.get(key).map(String::as_str))
}

/// Whether an object belongs to some installation of this program at all.
pub fn is_managed(map: Option<&HashMap<String, String>>) -> bool {
    map.is_some_and(|map| map.contains_key(keys::INSTALLATION))
}

/// Whether an object is this installation's and this project's.
pub fn is_of(map: Option<&HashMap<String, String>>, labels: &Labels) -> bool {
    let has = |key: &str, value: &str| map.is_some_and(|map| map.get(key).is_some_and(|found| found == value));
    has(keys::INSTALLATION, labels.installation.as_str()) && has(keys::PROJECT, labels.project.as_str())
}

/// A listing's filter.
pub fn filter(
    installation: &InstallationId,
    project: Option<&ProjectRef>,
    more: &[(&str, &str)],
) -> HashMap<String, Vec<String>> {
    let mut wanted = vec![format!("{}={installation}", keys::INSTALLATION)];
    wanted.extend(project.map(|project| format!("{}={project}", keys::PROJECT)));
    wanted.extend(more.iter().map(|(key, value)| format!("{key}={value}")));
    HashMap::from([("label".to_owned(), wanted)])
}
