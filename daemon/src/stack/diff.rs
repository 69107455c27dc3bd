//! What going from one stack to another means for each service: a pure comparison, so that what a plan says is what the
//! update does.

use std::collections::{BTreeMap, BTreeSet};

use super::{MountSource, Service, Stack};
use crate::domain::ServiceName;

/// What becomes of a service's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Create,
    /// It is made anew.
    Recreate,
    /// It goes; its data stays.
    Remove,
}

impl Action {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Recreate => "recreate",
            Self::Remove => "remove",
        }
    }
}

/// One service that does not stay as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The service.
    pub service: ServiceName,
    /// What becomes of its container.
    pub action: Action,
    /// Whether it runs another image afterwards.
    pub image: bool,
    /// Why, a phrase each, for example `image a:1 -> a:2`. Values of variables are not in it.
    pub reasons: Vec<String>,
}

/// One side of the comparison.
pub struct Side<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Path of a rendered file -> its text.
    pub files: &'a BTreeMap<String, String>,
    /// Image reference -> digest, as far as they are known.
    pub digests: &'a BTreeMap<String, String>,
}

/// Every service that changes, by name.
pub fn diff(before: &Side<'_>, after: &Side<'_>) -> Vec<Change> {
    let names: BTreeSet<&ServiceName> = before.stack.services.keys().chain(after.stack.services.keys()).collect();
    let change = |name: &ServiceName| {
        let (action, image, reasons) = match (before.stack.services.get(name), after.stack.services.get(name)) {
            (Some(old), Some(new)) => {
                let (image, reason) = image_change(old, new, before, after);
                let reasons: Vec<String> = reason.into_iter().chain(other_changes(old, new, before, after)).collect();
                (Action::Recreate, image, reasons)
            }
            (None, Some(new)) => (Action::Create, false, vec![format!("new, {}", new.image)]),
            (Some(_), None) => (Action::Remove, false, vec!["not in the stack any more; its data stays".to_owned()]),
            (None, None) => return None,
        };
        (!reasons.is_empty()).then(|| Change { service: name.clone(), action, image, reasons })
    };
    names.into_iter().filter_map(change).collect()
}

/// Whether the content is another, and what to say. Two names of one image are one image; what is not known yet is taken
/// for another.
fn image_change(old: &Service, new: &Service, before: &Side<'_>, after: &Side<'_>) -> (bool, Option<String>) {
    let (was, is) = (before.digests.get(&old.image), after.digests.get(&new.image));
    let other = was.is_none() || was != is;
    let reason = match (old.image == new.image, other) {
        (true, false) => None,
        (true, true) => Some(format!("image {} has other content", new.image)),
        (false, _) => Some(format!("image {} -> {}", old.image, new.image)),
    };
    (other, reason)
}

fn other_changes(old: &Service, new: &Service, before: &Side<'_>, after: &Side<'_>) -> Vec<String> {
    let mut reasons = variables(&old.environment, &new.environment);
    let files: Vec<&str> = mounted_files(new)
        .filter(|path| before.files.get(*path) != after.files.get(*path) && mounted_files(old).any(|old| old == *path))
        .collect();
    if !files.is_empty() {
        reasons.push(format!("file {}", files.join(", ")));
    }
    let fields: [(&str, bool); 8] = [
        ("mounts", old.mounts != new.mounts),
        ("ports", old.ports != new.ports),
        ("command", (&old.entrypoint, &old.command) != (&new.entrypoint, &new.command)),
        ("network", (&old.aliases, old.ipv4_address, &old.hostname) != (&new.aliases, new.ipv4_address, &new.hostname)),
        ("log driver", old.logging != new.logging),
        ("health check", old.healthcheck != new.healthcheck),
        ("limits", (&old.ulimits, old.pids_limit) != (&new.ulimits, new.pids_limit)),
        ("order", old.depends_on != new.depends_on),
    ];
    reasons.extend(fields.iter().filter(|(_, changed)| *changed).map(|(what, _)| (*what).to_owned()));
    if reasons.is_empty() && !same_but_for_image(old, new) {
        reasons.push("other settings".to_owned());
    }
    reasons
}

/// Whatever is added to [`Service`] later is compared without a line here.
fn same_but_for_image(old: &Service, new: &Service) -> bool {
    Service { image: new.image.clone(), ..old.clone() } == *new
}

fn variables(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let missing = |from: &BTreeMap<String, String>, to: &BTreeMap<String, String>| -> Vec<String> {
        from.keys().filter(|key| !to.contains_key(*key)).cloned().collect()
    };
    let changed = old.iter().filter(|(key, value)| new.get(*key).is_some_and(|other| other != *value));
    let kinds =
        [("adds", missing(new, old)), ("drops", missing(old, new)), ("changes", changed.map(|(key, _)| key.clone()).collect())];
    let told = kinds.into_iter().filter(|(_, names)| !names.is_empty());
    told.map(|(verb, names)| format!("{verb} {}", names.join(", "))).collect()
}

fn mounted_files(service: &Service) -> impl Iterator<Item = &str> {
    service.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Folder(path) if !path.starts_with("volumes/") => Some(path.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::compose;
    use super::*;

    const BASE: &str = "name: aaaaaaaaaaaaaaaaaaaa
services:
  back: {image: \"back:1\", container_name: b, restart: unless-stopped, logging: {driver: json-file}, environment: {A: \"1\", B: \"${SECRET}\"}, volumes: [\"./back.conf:/etc/back.conf:ro\"]}
  front: {image: \"front:1\", container_name: f, restart: unless-stopped, logging: {driver: json-file}, networks: {default: {aliases: [front]}}}
networks: {default: {name: net, ipam: {config: [{subnet: 10.0.0.0/27}]}}}
";

    fn changes(after: &str, file: &str, digest: &str) -> Vec<(String, Action, bool, String)> {
        let (old, new) = (compose::parse(BASE).expect("a stack"), compose::parse(after).expect("a stack"));
        let files = |text: &str| BTreeMap::from([("back.conf".to_owned(), text.to_owned())]);
        let digests =
            |digest: &str| BTreeMap::from([("back:1".to_owned(), digest.to_owned()), ("front:1".to_owned(), "front".to_owned())]);
        let (old_files, new_files, old_digests, new_digests) = (files("text"), files(file), digests("one"), digests(digest));
        let before = Side { stack: &old, files: &old_files, digests: &old_digests };
        let after = Side { stack: &new, files: &new_files, digests: &new_digests };
        let told = diff(&before, &after).into_iter();
        told.map(|change| (change.service.to_string(), change.action, change.image, change.reasons.join("; "))).collect()
    }

    #[test]
    fn the_same_stack_changes_nothing() {
        assert_eq!(changes(BASE, "text", "one"), []);
    }

    #[test]
    fn each_kind_of_change_is_named_and_touches_its_service_only() {
        let back = |image: bool, why: &str| vec![("back".to_owned(), Action::Recreate, image, why.to_owned())];
        assert_eq!(changes(&BASE.replace("back:1", "back:2"), "text", "one"), back(true, "image back:1 -> back:2"));
        assert_eq!(changes(BASE, "text", "two"), back(true, "image back:1 has other content"));
        assert_eq!(changes(BASE, "other", "one"), back(false, "file back.conf"));
        let env = BASE.replace("A: \"1\"", "A: \"2\", C: x").replace("B: \"${SECRET}\"", "D: \"${SECRET}\"");
        assert_eq!(changes(&env, "text", "one"), back(false, "adds C, D; drops B; changes A"));
        assert_eq!(
            changes(&BASE.replace("container_name: b,", "container_name: b, init: true,"), "text", "one"),
            back(false, "other settings")
        );
    }

    #[test]
    fn services_come_and_go() {
        let gone: String = BASE.lines().filter(|line| !line.starts_with("  front")).map(|line| format!("{line}\n")).collect();
        assert_eq!(changes(&gone, "text", "one")[0].1, Action::Remove);
        let more =
            BASE.replace("networks: {default: {name", "  third: {image: third, container_name: t, restart: unless-stopped, logging: {driver: json-file}}\nnetworks: {default: {name");
        assert_eq!(changes(&more, "text", "one"), [("third".to_owned(), Action::Create, false, "new, third".to_owned())]);
    }
}
