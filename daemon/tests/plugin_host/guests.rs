//! Plugins made from WebAssembly text: a core module, the contract's own WIT, and a folder on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A folder of plugins that goes with the test.
pub struct Plugins(PathBuf);

impl Plugins {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("supamanager-plugins-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Writes a plugin as the build would, with the digest of these bytes.
    pub fn add(&self, name: &str, hook: &str, extra: &str, bytes: &[u8]) -> PathBuf {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let manifest = format!(
            "name = \"{name}\"\nversion = \"1.0.0\"\ncontract = \"0.1.0\"\nsha256 = \"{digest}\"\n{}\n[[hook]]\nhook = \"{hook}\"\n{extra}\n",
            imports(hook)
        );
        let folder = self.0.join(name);
        fs::create_dir_all(&folder).expect("a plugin's folder");
        fs::write(folder.join("plugin.toml"), manifest).expect("plugin.toml");
        fs::write(folder.join("plugin.wasm"), bytes).expect("plugin.wasm");
        folder
    }

    /// A host's only plugin, called `guest`.
    pub fn of(hook: &str, extra: &str, bytes: &[u8]) -> Self {
        let plugins = Self::new();
        plugins.add("guest", hook, extra, bytes);
        plugins
    }
}

impl Drop for Plugins {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn imports(hook: &str) -> &'static str {
    match hook {
        "render" => "imports = [\"log\", \"templates\"]",
        "probe" => "imports = [\"log\", \"clock\", \"service-http\"]",
        "admit" | "notify" => "imports = [\"log\"]",
        _ => "imports = [\"log\", \"progress\", \"sql\"]",
    }
}

/// A renderer whose `render` is this body, which leaves the address of its answer.
pub fn renderer(body: &str) -> Vec<u8> {
    let export = format!("(func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) {body})");
    component("render", "", &export)
}

/// A prober whose `check` is this body.
pub fn prober(body: &str) -> Vec<u8> {
    // service, port, method, path, headers, body, deadline, where the answer goes
    let import = "(import \"supamanager:plugin/service-http@0.1.0\" \"send\" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))";
    let export = format!("(func (export \"check\") (param i32 i32 i32 i32 i32 i32) (result i32) {body})");
    component("probe", import, &export)
}

/// Answers with the name `guest`, the version 1.0.0 and the summary `guest`.
const DESCRIBE: &str = "(func (export \"describe\") (result i32)
        (i32.store (i32.const 1024) (i32.const 16)) (i32.store (i32.const 1028) (i32.const 5))
        (i32.store (i32.const 1032) (i32.const 32)) (i32.store (i32.const 1036) (i32.const 5))
        (i32.store (i32.const 1040) (i32.const 16)) (i32.store (i32.const 1044) (i32.const 5))
        (i32.const 1024))";

/// A component called `zebra`, which is the neighbour of one called `guest`.
pub fn zebra(world: &str, export: &str) -> Vec<u8> {
    let describe = "(func (export \"describe\") (result i32)
        (i32.store (i32.const 1024) (i32.const 5000)) (i32.store (i32.const 1028) (i32.const 5))
        (i32.store (i32.const 1032) (i32.const 32)) (i32.store (i32.const 1036) (i32.const 5))
        (i32.store (i32.const 1040) (i32.const 16)) (i32.store (i32.const 1044) (i32.const 5)) (i32.const 1024))";
    component_describing(world, "", &format!("(data (i32.const 5000) \"zebra\") {export}"), describe)
}

/// A component of the contract's world out of imports and exports as text. Beside them there are `$log` (any
/// number of bytes from address 16), `$ok` (an empty list, no error), `describe` and what the ABI asks for.
pub fn component(world: &str, imports: &str, exports: &str) -> Vec<u8> {
    component_describing(world, imports, exports, DESCRIBE)
}

/// A renderer whose memory begins with so many pages of 64 KiB.
pub fn with_pages(body: &str, pages: u32) -> Vec<u8> {
    let export = format!("(func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32) {body})");
    encode(
        "render",
        &module("", &export, DESCRIBE)
            .replace("(memory (export \"memory\") 2)", &format!("(memory (export \"memory\") {pages})")),
    )
}

/// As [`component`], with another `describe`.
pub fn component_describing(world: &str, imports: &str, exports: &str, describe: &str) -> Vec<u8> {
    encode(world, &module(imports, exports, describe))
}

fn module(imports: &str, exports: &str, describe: &str) -> String {
    format!(
        "(module
            (import \"supamanager:plugin/log@0.1.0\" \"write\" (func $write (param i32 i32 i32)))
            {imports}
            (memory (export \"memory\") 2)
            (data (i32.const 16) \"guest\") (data (i32.const 32) \"1.0.0\")
            (global $top (mut i32) (i32.const 65536))
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
                (global.get $top)
                (global.set $top (i32.add (global.get $top)
                    (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16)))))
            (func $log (param $bytes i32) (call $write (i32.const 1) (i32.const 16) (local.get $bytes)))
            (func $ok (result i32)
                (i64.store (i32.const 2048) (i64.const 0)) (i64.store (i32.const 2056) (i64.const 0))
                (i64.store (i32.const 2064) (i64.const 0)) (i32.const 2048))
            {describe}
            {exports})"
    )
}

fn encode(world: &str, text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("WebAssembly text");
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-sdk/wit/v0.1");
    let (package, _) = resolve.push_path(wit).expect("the contract");
    let world = resolve.select_world(&[package], Some(world)).expect("a world of the contract");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("metadata");
    ComponentEncoder::default().module(&module).and_then(|encoder| encoder.encode()).expect("a component")
}
