//! Mounts: the one way to the host's files.
//!
//! A service may mount `volumes/<word>` and the rendered files, nothing else. `volumes/` itself is never mounted, so
//! no container can put a symlink at a place that a later mount follows; that the sources are no symlinks now is
//! checked where they are opened (`backend::docker`), for this module does no I/O.

use std::path::{Component, Path};

use super::{Findings, Subject};
use crate::stack::{BindMode, FenceRules, MountSource, Stack};

/// Files of the folder that hold what no container may see, whatever set.toml says.
const NEVER_MOUNTED: [&str; 2] = [".env", "docker-compose.yml"];

enum Source {
    Volume,
    File,
}

fn source_kind(source: &str, rules: &FenceRules) -> Option<Source> {
    if let Some(word) = source.strip_prefix("volumes/") {
        return is_word(word).then_some(Source::Volume);
    }
    let rendered = rules.files.iter().any(|file| file == source) && !NEVER_MOUNTED.contains(&source);
    let plain = Path::new(source).components().all(|part| matches!(part, Component::Normal(_)));
    (rendered && plain).then_some(Source::File)
}

/// A folder's name: no separators, no dots alone, nothing that a shell or an engine reads specially.
fn is_word(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

/// Bind mounts come from inside the project's own folder.
pub fn bind_outside_folder(subject: &Subject<'_>, out: &mut Findings) {
    for (index, mount) in subject.service.mounts.iter().enumerate() {
        if let MountSource::Folder(source) = &mount.source
            && source_kind(source, subject.rules).is_none()
        {
            let message = format!(
                "mounts {source:?}: use ./volumes/<word> or a rendered file of set.toml (never .env, docker-compose.yml or the folder itself)"
            );
            out.add("bind_outside_folder", subject.path(&format!("volumes[{index}]")), message);
        }
    }
}

/// A rendered file is the host's: a container that wrote to it would change what the next start reads.
pub fn writable_file(subject: &Subject<'_>, out: &mut Findings) {
    for (index, mount) in subject.service.mounts.iter().enumerate() {
        if let MountSource::Folder(source) = &mount.source
            && matches!(source_kind(source, subject.rules), Some(Source::File))
            && mount.mode == BindMode::ReadWrite
        {
            out.add(
                "writable_file",
                subject.path(&format!("volumes[{index}]")),
                format!("mounts the file {source:?} for writing: add :ro"),
            );
        }
    }
}

/// The place inside: absolute, in plain form, once, and not on the kernel's own trees.
pub fn mount_target(subject: &Subject<'_>, out: &mut Findings) {
    let mut seen = Vec::new();
    for (index, mount) in subject.service.mounts.iter().enumerate() {
        let target = mount.target.as_str();
        let plain = target.len() <= 256
            && target.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
            && !target.contains(|c: char| c.is_control() || c == '\\');
        let kernel = ["/proc", "/sys", "/dev"].iter().any(|tree| Path::new(target).starts_with(tree));
        let path = subject.path(&format!("volumes[{index}]"));
        if !plain || kernel {
            out.add(
                "mount_target",
                path,
                format!("mounts at {target:?}: write an absolute path without `..`, outside /proc, /sys and /dev"),
            );
        } else if seen.contains(&target) {
            out.add("mount_target", path, format!("mounts at {target:?} a second time: leave one out"));
        }
        seen.push(target);
    }
}

/// A named volume is one that the file declares: an undeclared one would be made with the engine's defaults.
pub fn unknown_volume(stack: &Stack, _: &FenceRules, out: &mut Findings) {
    for (name, service) in &stack.services {
        for (index, mount) in service.mounts.iter().enumerate() {
            if let MountSource::Volume(key) = &mount.source
                && !stack.volumes.contains_key(key)
            {
                let path = format!("services.{name}.volumes[{index}]");
                out.add(
                    "unknown_volume",
                    path,
                    format!("mounts the volume {key:?}: declare it under `volumes` (a folder begins with ./)"),
                );
            }
        }
    }
}

/// A named volume is a bind in disguise: its device lies in the project's folder too.
pub fn volume_device(stack: &Stack, rules: &FenceRules, out: &mut Findings) {
    for (key, volume) in &stack.volumes {
        if device_in_folder(&volume.folder, rules).is_none() {
            let path = format!("volumes.{key}.driver_opts.device");
            let message = format!("is {:?}: it must be `{}/volumes/<word>`", volume.folder, rules.folder.display());
            out.add("volume_device", path, message);
        }
    }
}

/// `<folder>/volumes/<word>` -> `volumes/<word>`. Compared as text: `Path` would forgive `//` and `/./`.
pub fn device_in_folder(device: &str, rules: &FenceRules) -> Option<String> {
    let rest = device.strip_prefix(rules.folder.to_str()?)?.strip_prefix('/')?;
    is_word(rest.strip_prefix("volumes/")?).then(|| rest.to_owned())
}
