//! The default template set with an example project, for the tests and for the bench.

use std::path::{Path, PathBuf};

use serde_json::json;
use supamanager::domain::{OperationId, PluginChoices, ProjectRef};
use supamanager::plugin_host::hooks::RenderInput;
use supamanager::templates::{LoadedSet, Templates};

/// Where `make plugins` has put the shipped plugins.
pub fn plugins_dir() -> PathBuf {
    let folder = std::env::var_os("SUPAMANAGER_PLUGINS_DIR");
    PathBuf::from(folder.expect("SUPAMANAGER_PLUGINS_DIR must name the folder that `make plugins` fills"))
}

/// The shipped template sets and image sets.
pub fn templates() -> Templates {
    Templates::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates")).expect("the shipped templates")
}

/// The default template set with an example project.
pub fn example() -> RenderInput {
    example_of(&templates().set("supabase").expect("the default set"), |image| format!("example/{image}:1"))
}

/// A template set with an example project and the image of each key.
pub fn example_of(loaded: &LoadedSet, image: impl Fn(&str) -> String) -> RenderInput {
    let set = &loaded.spec;
    let services: serde_json::Map<_, _> =
        (set.services.iter()).map(|service| (service.name.to_string(), json!({ "image": image(&service.image) }))).collect();
    let ports: serde_json::Map<_, _> =
        (set.ports.iter().zip(54000..)).map(|(port, number)| (port.name.clone(), json!(number))).collect();
    let context = json!({
        "project": {
            "ref": "abcdefghijklmnopqrst", "name": "Ünïcode \"q\" & $x: {{ y }}", "region": "us-east",
            "folder": "/srv/p/abcdefghijklmnopqrst", "container_prefix": "supamanager-abcdefghijklmnopqrst-",
            "network": "supamanager-abcdefghijklmnopqrst",
        },
        "endpoint": "http://127.0.0.1:54000", "publish_address": "127.0.0.1",
        "ports": ports,
        "network": {
            "subnet": "10.201.0.0/27", "gateway": "10.201.0.1", "ip_range": "10.201.0.0/28",
            "fixed": { "vector": "10.201.0.30" },
        },
        "services": services, "options": {}, "labels": { "team": "a" },
    });
    RenderInput {
        project: ProjectRef::parse("abcdefghijklmnopqrst").expect("a ref"),
        operation: OperationId::parse("op_0123456789abcdef01234567").expect("an operation id"),
        context,
        files: (set.files.iter())
            .map(|file| (file.template.clone(), file.path.clone(), u32::from_str_radix(&file.mode, 8).expect("octal")))
            .collect(),
        templates: loaded.templates.clone(),
        choices: PluginChoices::default(),
    }
}
