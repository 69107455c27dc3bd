//! The list of what a component imports, held against what it is granted, before anything is linked: so that
//! the refusal names the interface and what to do, and not a function somewhere inside of it.

use std::collections::BTreeSet;
use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::grants::Interface;
use super::load::LoadError;
use super::manifest::{CONTRACTS, Manifest};

const PACKAGE: &str = "supamanager:plugin/";

/// The interfaces a component really uses.
///
/// # Errors
/// [`LoadError::Import`] for the first one that it does not get.
pub fn check(engine: &Engine, component: &Component, manifest: &Manifest, file: &Path) -> Result<BTreeSet<Interface>, LoadError> {
    let mut used = BTreeSet::new();
    for (name, _) in component.component_type().imports(engine) {
        let interface = judge(name, manifest);
        let refused = |problem| LoadError::Import { file: file.to_owned(), import: name.to_owned(), problem };
        used.extend(interface.map_err(refused)?);
    }
    Ok(used)
}

/// The interface of an import; `None` for types, which are no function of the host.
fn judge(import: &str, manifest: &Manifest) -> Result<Option<Interface>, String> {
    if import.starts_with("wasi:") {
        return Err("plugins get no WASI. Rust: build for wasm32-unknown-unknown with `supamanager plugin build`; \
            componentize-py: `--stub-wasi`; componentize-js: \
            `disableFeatures: ['random','stdio','clocks','http','fetch-event']`"
            .to_owned());
    }
    let Some((interface, version)) = import.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
        return Err(format!("the host offers the interfaces of {PACKAGE} only: {}", names()));
    };
    if !CONTRACTS.iter().any(|host| fits(version, host)) {
        return Err(format!(
            "its version is {version}, this host speaks {}: build the plugin against one of these",
            CONTRACTS.join(", ")
        ));
    }
    if interface == "types" {
        return Ok(None);
    }
    let interface =
        Interface::from_name(interface).ok_or_else(|| format!("contract {version} has no such interface; it has {}", names()))?;
    if manifest.imports.contains(&interface) {
        return Ok(Some(interface));
    }
    Err(format!("it is not granted, because plugin.toml does not request it: add \"{}\" to `imports`", interface.as_str()))
}

fn fits(wanted: &str, host: &str) -> bool {
    let split = |text: &str| text.rsplit_once('.').map(|(minor, patch)| (minor.to_owned(), patch.parse::<u32>().ok()));
    match (split(wanted), split(host)) {
        (Some((wanted, Some(patch))), Some((host, Some(host_patch)))) => wanted == host && patch <= host_patch,
        _ => false,
    }
}

fn names() -> String {
    Interface::ALL.map(Interface::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(import: &str) -> String {
        let manifest = Manifest::parse(
            "name = \"a\"\nversion = \"1\"\ncontract = \"0.1.0\"\nimports = [\"log\"]\n\
             sha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n[[hook]]\nhook = \"render\"\n",
        );
        judge(import, &manifest.unwrap()).map(|_| "granted".to_owned()).unwrap_or_else(|problem| problem)
    }

    #[test]
    fn what_is_requested_is_granted_and_types_are_free() {
        assert_eq!(refusal("supamanager:plugin/log@0.1.0"), "granted");
        assert_eq!(refusal("supamanager:plugin/types@0.1.0"), "granted");
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        for (import, word) in [
            ("wasi:cli/environment@0.2.3", "--stub-wasi"),
            ("acme:things/a@1.0.0", "supamanager:plugin/ only"),
            ("supamanager:plugin/log", "supamanager:plugin/ only"),
            ("supamanager:plugin/log@0.2.0", "this host speaks 0.1.0"),
            ("supamanager:plugin/log@0.1.7", "this host speaks 0.1.0"),
            ("supamanager:plugin/filesystem@0.1.0", "no such interface"),
            ("supamanager:plugin/templates@0.1.0", "add \"templates\" to `imports`"),
        ] {
            let words = refusal(import);
            assert!(words.contains(word), "{import}: {words}");
        }
    }
}
