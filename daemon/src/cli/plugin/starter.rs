//! `supamanager plugin new`: the folder of a first plugin, with everything that it takes to build it, in Rust and C without a network. The
//! binary carries it (daemon/build.rs): the starters of plugin-sdk/new, the contract, the SDK and the bindings.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

/// The languages.
pub const LANGUAGES: [&str; 4] = ["rust", "javascript", "python", "c"];

/// The hooks, by the name of the contract's world.
const HOOKS: [&str; 7] = ["render", "probe", "post-create", "after-resume", "before-delete", "admit", "notify"];

/// No name of a crate: of the vendor folder, of the standard library, or words of Rust.
const TAKEN: [&str; 10] =
    ["supamanager-plugin", "wit-bindgen", "alloc", "core", "std", "test", "proc-macro", "fn", "mod", "self"];

/// Name and content.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/starter.rs"));

/// Unpacks one.
///
/// # Errors
/// When there is no such hook or name, the folder is there, or something cannot be written.
pub fn unpack(hook: &str, language: &str, name: Option<String>, out: Option<PathBuf>) -> anyhow::Result<()> {
    ensure!(HOOKS.contains(&hook), "`{hook}` is no hook: use one of {}", HOOKS.join(", "));
    let name = name.unwrap_or_else(|| format!("{hook}-{language}"));
    let fits = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    ensure!(
        fits && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() <= 64,
        "--name is `{name}`: use a-z, 0-9 and -, beginning with a letter, at most 64 characters"
    );
    ensure!(!TAKEN.contains(&name.as_str()), "--name is `{name}`: that is what its crate is made of, or a word of the language");
    let folder = out.unwrap_or_else(|| PathBuf::from(&name));
    if folder.exists() {
        bail!("{} is there already: name another folder with --out", folder.display());
    }
    let mut count = 0;
    for (file, bytes) in FILES {
        let Some(place) = place(file, hook, language) else { continue };
        write(&folder.join(place), bytes, &name)?;
        count += 1;
    }
    if language != "rust" {
        name_it(&folder, &name, language)?;
    }
    println!("{count} files in {}", folder.display());
    let install = match language {
        "javascript" => "npm install && ",
        "python" => "pip install -r requirements.txt && ",
        _ => "",
    };
    println!("next: cd {} && {install}supamanager plugin test", folder.display());
    println!("what it takes to build it, and where its code is: {}/README.md", folder.display());
    Ok(())
}

/// Where a packed file goes in the folder of a plugin of this hook and language, if it belongs there.
fn place(file: &str, hook: &str, language: &str) -> Option<String> {
    if let Some(rest) = file.strip_prefix("hooks/") {
        return rest.strip_prefix(hook)?.strip_prefix('/').map(str::to_owned);
    }
    if file.starts_with("wit/") {
        return (language != "rust").then(|| file.to_owned());
    }
    let rest = file.strip_prefix(language)?.strip_prefix('/')?;
    if let Some(bound) = rest.strip_prefix("gen/") {
        return bound.strip_prefix(hook)?.strip_prefix('/').map(|name| format!("gen/{name}"));
    }
    let Some((stem, extension)) = rest.rsplit_once('.').filter(|(stem, _)| HOOKS.contains(stem)) else {
        return Some(rest.to_owned());
    };
    let source = if language == "rust" { "src/lib" } else { "plugin" };
    (stem == hook).then(|| format!("{source}.{extension}"))
}

fn write(file: &Path, bytes: &[u8], name: &str) -> anyhow::Result<()> {
    let told = || format!("{}", file.display());
    fs::create_dir_all(file.parent().unwrap_or(file)).with_context(told)?;
    let named = match std::str::from_utf8(bytes) {
        Ok(text) => text.replace("__NAME_SNAKE__", &name.replace('-', "_")).replace("__NAME__", name).into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    fs::write(file, named).with_context(told)
}

/// What a crate says in Cargo.toml stands in plugin.toml elsewhere, and so does how it is built.
fn name_it(folder: &Path, name: &str, language: &str) -> anyhow::Result<()> {
    let command = if language == "javascript" { r#"["node", "build.mjs"]"# } else { r#"["sh", "build.sh"]"# };
    let file = folder.join("plugin.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let text = format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\n{text}\n[build]\n# Runs in this folder and leaves plugin.wasm.\ncommand = {command}\n"
    );
    fs::write(&file, text).with_context(|| format!("{}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_its_source_manifest_and_fixture_in_every_language() {
        for language in LANGUAGES {
            for hook in HOOKS {
                let placed: Vec<String> = FILES.iter().filter_map(|(file, _)| place(file, hook, language)).collect();
                let has = |wanted: &str| placed.iter().filter(|place| place.starts_with(wanted)).count();
                let source = if language == "rust" { "src/lib.rs" } else { "plugin." };
                assert!(has(source) >= 1 && has("plugin.toml") == 1 && has("README.md") == 1, "{language} {hook}: {placed:?}");
                assert!(has("fixtures/") >= 1, "{language} {hook}: {placed:?}");
                let mut unique = placed.clone();
                unique.sort();
                unique.dedup();
                assert_eq!(unique.len(), placed.len(), "{language} {hook}: two files in one place");
            }
        }
        let rust: Vec<String> = FILES.iter().filter_map(|(file, _)| place(file, "probe", "rust")).collect();
        for wanted in
            [".cargo/config.toml", ".gitignore", "vendor/supamanager-plugin/src/bindings.rs", "vendor/wit-bindgen/src/rt/mod.rs"]
        {
            assert!(rust.iter().any(|place| place == wanted), "{wanted}");
        }
    }
}
