//! Where a plugin comes from. One that the build of this daemon recorded is *shipped*; one with a signature of a trusted key
//! is *signed*; every other is *unsigned*, and loads only when the operator names it.
//!
//! What is signed and recorded is plugin.toml, byte by byte: it holds the sha256 of plugin.wasm and everything that the
//! plugin asks for, so neither can be exchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::load::{MANIFEST_FILE, sha256_hex};
use super::versions;

/// Base64 of the 64 bytes of an Ed25519 signature (RFC 8032) over plugin.toml.
pub const SIGNATURE_FILE: &str = "plugin.sig";
/// Beside the plugin folders: name -> sha256 of the plugin.toml that the build made.
pub const SHIPPED_FILE: &str = "shipped.toml";

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// The build recorded it.
    Shipped,
    /// By the key of this name.
    Signed(String),
    /// By nobody, and the operator lets it run.
    Unsigned,
}

impl Provenance {
    /// `shipped`, `signed` or `unsigned`: the word of metrics and of the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Signed(_) => "signed",
            Self::Unsigned => "unsigned",
        }
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(key) => write!(f, "signed by {key}"),
            other => f.write_str(other.as_str()),
        }
    }
}

/// Whom the operator trusts.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    keys: BTreeMap<String, VerifyingKey>,
    unsigned: BTreeSet<String>,
    everything: bool,
}

impl Trust {
    /// Keys as `NAME=BASE64` of 32 bytes, and names of plugins that may be unsigned.
    ///
    /// # Errors
    /// A sentence naming the key that is none.
    pub fn new(keys: &[String], unsigned: &[String]) -> Result<Self, String> {
        let mut known = BTreeMap::new();
        for key in keys {
            let (name, parsed) = key.split_once('=').map_or((key.as_str(), None), |(name, text)| (name, public_key(text)));
            let parsed = parsed.ok_or_else(|| {
                format!("`{name}` of plugin_keys is no public key: write NAME=BASE64, as `supamanager plugin keygen` prints it")
            })?;
            known.insert(name.to_owned(), parsed);
        }
        Ok(Self { keys: known, unsigned: unsigned.iter().cloned().collect(), everything: false })
    }

    /// For commands that look at plugins and run none for a project.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether nobody is asked.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Where the plugin in this folder comes from.
    ///
    /// # Errors
    /// A sentence with the way out, when it comes from nobody who is trusted.
    pub fn judge(&self, folder: &Path, name: &str, manifest: &str) -> Result<Provenance, String> {
        if is_shipped(folder, name, manifest) {
            return Ok(Provenance::Shipped);
        }
        let signed = match std::fs::read_to_string(folder.join(SIGNATURE_FILE)) {
            Ok(text) => self.signer(&text, manifest),
            Err(_) => Err("it has no signature".to_owned()),
        };
        match signed {
            Ok(key) => Ok(Provenance::Signed(key)),
            Err(_) if self.everything || self.unsigned.contains(name) => Ok(Provenance::Unsigned),
            Err(why) => Err(format!(
                "{why}: sign it (`supamanager plugin sign`) with a key of plugin_keys, or let it run unsigned by putting \
                 `{name}` into plugins_unsigned"
            )),
        }
    }

    fn signer(&self, text: &str, manifest: &str) -> Result<String, String> {
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
        let signature = bytes.ok_or_else(|| format!("{SIGNATURE_FILE} is no signature"))?;
        let by = |(_, key): &(&String, &VerifyingKey)| key.verify_strict(manifest.as_bytes(), &signature).is_ok();
        let signer = self.keys.iter().find(by).map(|(name, _)| name.clone());
        signer.ok_or_else(|| format!("its signature is by no key of plugin_keys, or {MANIFEST_FILE} was changed after it"))
    }
}

fn is_shipped(folder: &Path, name: &str, manifest: &str) -> bool {
    let record = folder.parent().map(|parent| parent.join(SHIPPED_FILE)).and_then(|file| std::fs::read_to_string(file).ok());
    let recorded: Option<BTreeMap<String, String>> = record.and_then(|text| toml::from_str(&text).ok());
    recorded.is_some_and(|recorded| recorded.get(name) == Some(&sha256_hex(manifest.as_bytes())))
}

/// A key of 32 bytes in base64.
fn public_key(text: &str) -> Option<VerifyingKey> {
    let bytes: [u8; 32] = STANDARD.decode(text.trim()).ok()?.try_into().ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

/// A new pair: the secret half in base64, and the public one as `plugin_keys` has it.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn new_key(name: &str) -> Result<(String, String), String> {
    let mut seed = [0; 32];
    rand::TryRng::try_fill_bytes(&mut rand::rngs::SysRng, &mut seed).map_err(|error| error.to_string())?;
    let key = SigningKey::from_bytes(&seed);
    Ok((STANDARD.encode(seed), format!("{name}={}", STANDARD.encode(key.verifying_key().to_bytes()))))
}

/// The text of [`SIGNATURE_FILE`].
///
/// # Errors
/// When the key is none.
pub fn sign(secret: &str, manifest: &str) -> Result<String, String> {
    let seed: Option<[u8; 32]> = STANDARD.decode(secret.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    let seed = seed.ok_or("the key is no 32 bytes in base64: `supamanager plugin keygen` makes one")?;
    Ok(format!("{}\n", STANDARD.encode(SigningKey::from_bytes(&seed).sign(manifest.as_bytes()).to_bytes())))
}

/// Writes down what the build made, beside those of builds before.
///
/// # Errors
/// When the file cannot be read or written.
pub fn record(folder: &Path, name: &str, manifest: &str) -> std::io::Result<()> {
    let file = folder.join(SHIPPED_FILE);
    let text = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        read => read.unwrap_or_default(),
    };
    let mut recorded: BTreeMap<String, String> = toml::from_str(&text).map_err(std::io::Error::other)?;
    recorded.insert(name.to_owned(), sha256_hex(manifest.as_bytes()));
    // A daemon that watches the folder never reads half of it.
    versions::write(&file, toml::to_string(&recorded).map_err(std::io::Error::other)?.as_bytes())
}
