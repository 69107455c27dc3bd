//! The default template set with an example project, for the tests and for the bench.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use supamanager::domain::{OperationId, ProjectRef, TemplateSet};
use supamanager::plugin_host::hooks::RenderInput;

/// Where `make plugins` has put the shipped plugins.
pub fn plugins_dir() -> PathBuf {
    let folder = std::env::var_os("SUPAMANAGER_PLUGINS_DIR");
    PathBuf::from(folder.expect("SUPAMANAGER_PLUGINS_DIR must name the folder that `make plugins` fills"))
}

/// The default template set with an example project.
pub fn example() -> RenderInput {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/sets/supabase");
    let text = fs::read_to_string(folder.join("set.toml")).expect("set.toml");
    let set: TemplateSet = toml::from_str(&text).expect("a template set");
    let templates = |file: &str| fs::read_to_string(folder.join(file)).expect("a template");
    let services: serde_json::Map<_, _> = (set.services.iter())
        .map(|service| (service.name.to_string(), json!({ "image": format!("example/{}:1", service.image) })))
        .collect();
    let context = json!({
        "project": {
            "ref": "abcdefghijklmnopqrst", "name": "Ünïcode \"q\" & $x: {{ y }}", "region": "us-east",
            "folder": "/srv/p/abcdefghijklmnopqrst", "container_prefix": "supamanager-abcdefghijklmnopqrst-",
            "network": "supamanager-abcdefghijklmnopqrst",
        },
        "endpoint": "http://127.0.0.1:54000", "publish_address": "127.0.0.1",
        "ports": { "api": 54000, "db": 55000 },
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
        templates: set.files.iter().map(|file| (file.template.clone(), templates(&file.template))).collect(),
    }
}
