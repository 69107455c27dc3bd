//! What `supamanager plugin new` unpacks is put into the binary here, so that an author needs neither this repository nor, in
//! Rust and C, a network: the starters of `plugin-sdk/new`, the contract, and what their languages need of it. Rust gets a vendor folder: the
//! SDK with its bindings written out (the macro that writes them in this workspace draws in a compiler's worth of crates) and
//! the small runtime of wit-bindgen as it lies in cargo's own store. C gets the bindings of wit-bindgen-c for each world.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// Everything must work, or the binary would lack what it promises.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Of wit-bindgen: what its features `macros` and `async` do not bring.
const RUNTIME: [&str; 9] = [
    "build.rs",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "src/lib.rs",
    "src/resource.rs",
    "src/rt/mod.rs",
    "src/rt/wit_bindgen_cabi_realloc.rs",
    "src/rt/libwit_bindgen_cabi_realloc.a",
    "src/rt/libwit_bindgen_cabi_wasip3.a",
];

fn main() -> Result<()> {
    let sdk = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../plugin-sdk").canonicalize()?;
    let wit = sdk.join("wit/v0.1");
    let mut packed = Packed::new(PathBuf::from(env::var("OUT_DIR")?));
    packed.folder(&sdk.join("new"), "")?;
    packed.folder(&wit, "wit")?;
    vendored_sdk(&mut packed, &sdk, &wit)?;
    let runtime = runtime()?;
    for file in RUNTIME {
        packed.file(&runtime.folder.join(file), &format!("rust/vendor/wit-bindgen/{file}"));
    }
    packed.text("rust/vendor/wit-bindgen/Cargo.toml", &runtime.manifest)?;
    for world in WORLDS {
        for (name, bytes) in bindings_for_c(&wit, world)? {
            packed.bytes(&format!("c/gen/{world}/{name}"), &bytes)?;
        }
    }
    println!("cargo:rerun-if-changed=build.rs");
    packed.finish()
}

/// One for each hook.
const WORLDS: [&str; 7] = ["render", "probe", "post-create", "admit", "before-delete", "after-resume", "notify"];

/// The SDK without its macro.
fn vendored_sdk(packed: &mut Packed, sdk: &Path, wit: &Path) -> Result<()> {
    let root = "rust/vendor/supamanager-plugin";
    for file in ["src/lib.rs", "src/export.rs"] {
        packed.file(&sdk.join(file), &format!("{root}/{file}"));
    }
    packed.text(
        &format!("{root}/Cargo.toml"),
        &format!(
            "[package]\nname = \"supamanager-plugin\"\nversion = \"{}\"\nedition = \"2024\"\n\n[dependencies]\n\
             wit-bindgen = {{ path = \"../wit-bindgen\" }}\n",
            env::var("CARGO_PKG_VERSION")?
        ),
    )?;
    let interfaces = interfaces(wit)?;
    let imports: String = interfaces.iter().map(|name| format!("import supamanager:plugin/{name}@0.1.0;\n")).collect();
    let mut resolve = Resolve::default();
    resolve.push_dir(wit)?;
    let package = resolve.push_str("sdk.wit", &format!("package supamanager:sdk; world imports {{ {imports} }}"))?;
    let world = resolve.select_world(&[package], Some("imports"))?;
    let mut text = String::from("//! Written by wit-bindgen from the contract, as the SDK's own macro would.\n\n");
    let options = Opts { generate_all: true, ..Opts::default() };
    write!(text, "#[allow(missing_docs)]\npub mod imports {{\n{}\n}}\n", rust(options, &mut resolve, world)?)?;
    for world in WORLDS {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(wit)?;
        let id = resolve.select_world(&[package], Some(world))?;
        let module = world.replace('-', "_");
        let shared = |name: &String| {
            let path = format!("crate::bindings::imports::supamanager::plugin::{}", name.replace('-', "_"));
            (format!("supamanager:plugin/{name}@0.1.0"), WithOption::Path(path))
        };
        let used: Vec<String> = resolve.worlds[id].imports.keys().map(|key| resolve.name_world_key(key)).collect();
        let is_used = |name: &&String| used.contains(&format!("supamanager:plugin/{name}@0.1.0"));
        let options = Opts {
            pub_export_macro: true,
            export_macro_name: Some("export".to_owned()),
            default_bindings_module: Some(format!("supamanager_plugin::{module}")),
            with: interfaces.iter().filter(is_used).map(shared).collect(),
            ..Opts::default()
        };
        write!(text, "\n#[allow(missing_docs)]\npub mod {module} {{\n{}\n}}\n", rust(options, &mut resolve, id)?)?;
    }
    packed.text(&format!("{root}/src/bindings.rs"), &text)
}

fn rust(options: Opts, resolve: &mut Resolve, world: WorldId) -> Result<String> {
    let mut files = Files::default();
    options.build().generate(resolve, world, &mut files)?;
    let (_, bytes) = files.iter().next().ok_or("wit-bindgen wrote nothing")?;
    Ok(String::from_utf8(bytes.to_vec())?)
}

fn bindings_for_c(wit: &Path, world: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    let id = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, id, &mut files)?;
    Ok(files.iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect())
}

/// The names of all interfaces of the contract.
fn interfaces(wit: &Path) -> Result<Vec<String>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    Ok(resolve.packages[package].interfaces.keys().cloned().collect())
}

struct Runtime {
    folder: PathBuf,
    manifest: String,
}

/// Where cargo has the sources of wit-bindgen, and a manifest for them that asks for no other crate.
fn runtime() -> Result<Runtime> {
    let manifest = format!(
        "# As published, without its optional dependencies.\n[package]\nname = \"wit-bindgen\"\nversion = \"{SDKS_RUNTIME}\"\n\
         edition = \"2024\"\nlicense = \"Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT\"\n\n\
         [features]\ndefault = [\"realloc\"]\nrealloc = []\nstd = []\nasync = []\nasync-spawn = []\nbitflags = []\n\
         futures-stream = []\ninter-task-wakeup = []\nmacros = []\nrustc-dep-of-std = []\n"
    );
    let folder = match in_store() {
        Some(folder) => folder,
        None => as_cargo_says()?,
    };
    Ok(Runtime { folder, manifest })
}

/// In cargo's own store, where a registry's crates lie.
fn in_store() -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed=CARGO_HOME");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?.flatten();
    let mut folders = registries.map(|registry| registry.path().join(format!("wit-bindgen-{SDKS_RUNTIME}")));
    folders.find(|folder| folder.join(".cargo-ok").is_file())
}

/// Elsewhere, for whoever vendors crates. Not the first choice: it wants all crates of the workspace to be there.
fn as_cargo_says() -> Result<PathBuf> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo.args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &env::var("TARGET")?]);
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let is_it = |package: &&serde_json::Value| package["name"] == "wit-bindgen" && package["version"] == SDKS_RUNTIME;
    let package = packages.iter().find(is_it).ok_or_else(|| format!("there is no wit-bindgen {SDKS_RUNTIME}"))?;
    let manifest = package["manifest_path"].as_str().ok_or("no path")?;
    Ok(Path::new(manifest).parent().ok_or("no folder")?.to_owned())
}

/// The workspace's pin.
const SDKS_RUNTIME: &str = "0.63.0";

/// A list of names and contents that `cli/plugin/starter.rs` includes.
struct Packed {
    out: PathBuf,
    list: String,
}

impl Packed {
    fn new(out: PathBuf) -> Self {
        Self { out, list: String::from("&[\n") }
    }

    fn file(&mut self, path: &Path, name: &str) {
        println!("cargo:rerun-if-changed={}", path.display());
        let _ = writeln!(self.list, "    ({name:?}, include_bytes!({:?})),", path.display().to_string());
    }

    fn folder(&mut self, folder: &Path, name: &str) -> Result<()> {
        println!("cargo:rerun-if-changed={}", folder.display());
        let mut entries: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
        entries.sort();
        for entry in entries {
            let file_name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // What somebody who tried a starter in place left behind.
            if ["target", "node_modules", "build", "plugin.wasm", "__pycache__"].contains(&file_name.as_str()) {
                continue;
            }
            let name = if name.is_empty() { file_name } else { format!("{name}/{file_name}") };
            if entry.is_dir() { self.folder(&entry, &name)? } else { self.file(&entry, &name) }
        }
        Ok(())
    }

    fn text(&mut self, name: &str, text: &str) -> Result<()> {
        self.bytes(name, text.as_bytes())
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.out.join("starter").join(name);
        fs::create_dir_all(file.parent().ok_or("no folder")?)?;
        fs::write(&file, bytes)?;
        let _ = writeln!(self.list, "    ({name:?}, include_bytes!({:?})),", file.display().to_string());
        Ok(())
    }

    fn finish(self) -> Result<()> {
        Ok(fs::write(self.out.join("starter.rs"), format!("{}]\n", self.list))?)
    }
}
