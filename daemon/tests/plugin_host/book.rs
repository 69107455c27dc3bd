//! The book for authors (plugin-sdk/book): its manifests are read by the reader of the daemon, its fixtures by that of
//! `plugin test`. Its Rust is compiled by `cargo test --doc`, its JavaScript and Python by tests/authors.sh.

use std::fs;
use std::path::Path;

use supamanager::plugin_host::{LoadError, PluginHost, Trial};

use crate::guests::Plugins;

/// Chapter, line, language and text of every block.
fn blocks() -> Vec<(String, usize, String, String)> {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/book");
    let mut blocks = Vec::new();
    for entry in fs::read_dir(book).expect("the book") {
        let path = entry.expect("a chapter").path();
        let (name, text) =
            (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read_to_string(&path).expect("text"));
        let mut open: Option<(usize, String, String)> = None;
        for (index, line) in text.lines().enumerate() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(language)) => open = Some((index + 1, language.to_owned(), String::new())),
                (Some(_), Some("")) => {
                    let (line, language, text) = open.take().expect("one is open");
                    blocks.push((name.clone(), line, language, text));
                }
                (Some((_, _, text)), _) => text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{name}: a block does not end");
    }
    blocks
}

#[tokio::test]
async fn every_manifest_and_fixture_of_the_book_is_one() {
    let (mut manifests, mut fixtures, mut rust) = (0, 0, 0);
    for (chapter, line, language, text) in blocks() {
        let place = format!("{chapter}:{line}");
        match language.as_str() {
            "toml" => {
                text.parse::<toml::Table>().unwrap_or_else(|error| panic!("{place}: {error}"));
                if text.contains("[[hook]]") {
                    manifests += 1;
                    is_a_manifest(&place, &text).await;
                }
            }
            "json" => {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
                if value.get("expected").is_some() {
                    fixtures += 1;
                    serde_json::from_value::<Trial>(value).unwrap_or_else(|error| panic!("{place}: {error}"));
                }
            }
            language if language.starts_with("rust") => rust += 1,
            "text" | "js" | "python" | "c" => {}
            other => panic!("{place}: nobody tries blocks of `{other}`"),
        }
    }
    assert!(manifests >= 3 && fixtures >= 3 && rust >= 20, "{manifests} manifests, {fixtures} fixtures, {rust} in Rust");
}

/// It is read, granted and its settings understood: only its component is not there.
async fn is_a_manifest(place: &str, text: &str) {
    let (plugins, digest) = (Plugins::new(), "0".repeat(64));
    let folder = plugins.folder().join("guest");
    fs::create_dir_all(&folder).expect("a folder");
    let named = format!("name = \"guest\"\nversion = \"1.0.0\"\nsha256 = \"{digest}\"\n{text}");
    fs::write(folder.join("plugin.toml"), named).expect("written");
    fs::write(folder.join("plugin.wasm"), b"nothing").expect("written");
    let error = PluginHost::inspect(&folder, Default::default()).await.expect_err("nothing is no component");
    assert!(matches!(error, LoadError::Digest { .. }), "{place}: {error}");
}
