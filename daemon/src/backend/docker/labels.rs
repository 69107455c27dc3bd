//! Labels on the wire: ours, the rendered file's, and Compose's own, so that `docker compose -p <ref> ps` and `logs`
//! show a project that Compose did not start (decision 16).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::backend::{Labels, keys};
use crate::domain::{InstallationId, ProjectRef};

/// What Compose's own labels begin with.
const COMPOSE: &str = "com.docker.compose.";

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
    map.insert(format!("{COMPOSE}{key}"), value);
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

/// Whether Compose made an object of this project from our rendered file (decision 16): it has Compose's labels and those
/// of the file, and no installation's. Somebody ran `docker compose up` in the project's folder.
pub fn is_composed(map: Option<&HashMap<String, String>>, rendered: &BTreeMap<String, String>, project: &ProjectRef) -> bool {
    let Some(map) = map else { return false };
    let compose = map.get(&format!("{COMPOSE}project")).is_some_and(|found| found == project.as_str());
    // The file's word for the project is ours to check wherever the file has one.
    let same = rendered.get(keys::PROJECT).is_none_or(|wanted| map.get(keys::PROJECT) == Some(wanted));
    compose && same && !is_managed(Some(map))
}

/// The service that Compose made a container for.
pub fn composed_service(map: Option<&HashMap<String, String>>) -> Option<&str> {
    map?.get(&format!("{COMPOSE}service")).map(String::as_str)
}

/// The filter of a listing of everything that Compose made for a project.
pub fn composed_filter(project: &ProjectRef) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{COMPOSE}project={project}")])])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_is_what_compose_made_for_this_project_and_no_installation_owns() {
        let project = ProjectRef::parse(&"a".repeat(20)).expect("a ref");
        let rendered = BTreeMap::from([(keys::PROJECT.to_owned(), project.to_string())]);
        let other = "b".repeat(20);
        let object = |compose: &str, ours: &str| {
            HashMap::from([
                ("com.docker.compose.project".to_owned(), compose.to_owned()),
                (keys::PROJECT.to_owned(), ours.to_owned()),
            ])
        };
        let is = |map: &HashMap<String, String>| is_composed(Some(map), &rendered, &project);
        let made = object(project.as_str(), project.as_str());
        assert!(is(&made));
        assert!(!is(&object(&other, project.as_str())) && !is(&object(project.as_str(), &other)));
        assert!(!is(&HashMap::new()) && !is_composed(None, &rendered, &project));
        let mut owned = made.clone();
        owned.insert(keys::INSTALLATION.to_owned(), "c".repeat(32));
        assert!(!is(&owned), "an installation owns it, ours or another");
        let without = HashMap::from([("com.docker.compose.project".to_owned(), project.to_string())]);
        assert!(!is(&without) && is_composed(Some(&without), &BTreeMap::new(), &project), "only where the file says none");
    }
}
