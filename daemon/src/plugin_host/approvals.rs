//! What the operator granted to plugins that are not shipped: kept by name and digest, so that a changed binary, or one that
//! asks for more, asks again. The file lies in the data folder; commands write it, and a daemon that runs takes it over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::egress::EgressHost;
use super::grants::{EVERY_SECRET, HttpRequest, Interface};
use super::load::{self, LoadError, MANIFEST_FILE};
use super::manifest::Manifest;
use super::state::one_line;
use super::trust::{Provenance, Trust};
use super::versions;

/// Versions of one plugin whose grants are kept, more than versions themselves.
const KEPT: usize = 16;

/// Everything in which a plugin reaches beyond its own call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaches {
    /// Interfaces.
    pub imports: BTreeSet<Interface>,
    /// Requests to a project's services.
    #[serde(default)]
    pub http: Vec<HttpRequest>,
    /// Secrets it signs with.
    #[serde(default)]
    pub sign: Vec<String>,
    /// Secrets that headers refer to.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Hosts outside.
    #[serde(default)]
    pub egress: Vec<EgressHost>,
}

impl Reaches {
    /// What a plugin asks for. Lines in the log, time, templates, options, a little memory and progress need nobody's leave.
    pub fn of(manifest: &Manifest) -> Self {
        let reaching = |interface: &&Interface| interface.reaches_out();
        Self {
            imports: manifest.imports.iter().filter(reaching).copied().collect(),
            http: manifest.http.clone(),
            sign: manifest.sign.clone(),
            secrets: manifest.secrets.clone(),
            egress: manifest.egress.clone(),
        }
    }

    /// It asks for nothing that somebody has to grant.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether all of it is in `granted`.
    pub fn is_within(&self, granted: &Self) -> bool {
        self.imports.is_subset(&granted.imports)
            && self.http.iter().all(|request| granted.http.contains(request))
            && self.sign.iter().all(|secret| granted.sign.contains(secret))
            && self.secrets.iter().all(|secret| granted.secrets.contains(secret))
            && self.egress.iter().all(|host| granted.egress.contains(host))
    }

    /// 16 hex digits of the SHA-256 of all of it: whoever grants says with it what was looked at, because a plugin.toml that
    /// nobody signed may have been replaced since.
    pub fn digest(&self) -> String {
        let mut digest = load::sha256_hex(&serde_json::to_vec(self).unwrap_or_default());
        digest.truncate(16);
        digest
    }

    /// A line each, for people.
    pub fn lines(&self) -> Vec<String> {
        let http = |request: &HttpRequest| format!("{} {}{}*", request.methods.join("|"), request.service, request.path_prefix);
        let imports = self.imports.iter().map(|import| format!("the interface {}: {}", import.as_str(), import.means()));
        let requests = self.http.iter().map(|request| format!("requests {}", http(request)));
        let signatures = self.sign.iter().map(|secret| format!("signatures under the secret {secret}"));
        let secrets = self.secrets.iter().map(|secret| match secret.as_str() {
            EVERY_SECRET => "every secret in headers of its requests; it never sees one".to_owned(),
            secret => format!("the secret {secret} in headers of its requests; it never sees it"),
        });
        let hosts = self.egress.iter().map(|host| format!("requests to {host}, outside"));
        // A manifest's own words cannot hide the line above them.
        imports.chain(requests).chain(signatures).chain(secrets).chain(hosts).map(|line| one_line(&line)).collect()
    }
}

/// One grant. Each version of a plugin has its own: one that an operation began with keeps its leave when a newer one gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// `sha256:` and 64 hex digits of the binary it was given to.
    pub digest: String,
    /// What was granted.
    #[serde(flatten)]
    pub reaches: Reaches,
}

/// The file; without one nothing was granted.
#[derive(Debug, Clone, Default)]
pub struct Approvals(Option<PathBuf>);

impl Approvals {
    /// In the data folder.
    pub fn in_folder(data_dir: &Path) -> Self {
        Self(Some(data_dir.join("plugins").join("grants.json")))
    }

    /// What was granted to the plugin of this name and digest.
    ///
    /// # Errors
    /// When the file cannot be read: nothing is taken for granted.
    pub fn of(&self, name: &str, digest: &str) -> io::Result<Option<Reaches>> {
        let of_it = self.read()?.remove(name).unwrap_or_default();
        Ok(of_it.into_iter().find(|approval| approval.digest == digest).map(|approval| approval.reaches))
    }

    /// Grants, in place of what the same digest had before.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn grant(&self, name: &str, approval: Approval) -> io::Result<()> {
        let _alone = self.alone()?;
        let mut all = self.read()?;
        let of_it = all.entry(name.to_owned()).or_default();
        of_it.retain(|before| before.digest != approval.digest);
        of_it.push(approval);
        let beyond = of_it.len().saturating_sub(KEPT);
        of_it.drain(..beyond);
        self.write(&all)
    }

    /// Takes back what all versions of a plugin were granted. Whether there was anything.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn revoke(&self, name: &str) -> io::Result<bool> {
        let _alone = self.alone()?;
        let mut all = self.read()?;
        let before = all.remove(name);
        self.write(&all)?;
        Ok(before.is_some())
    }

    fn write(&self, all: &BTreeMap<String, Vec<Approval>>) -> io::Result<()> {
        let Some(file) = &self.0 else { return Err(io::Error::other("no data folder")) };
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        versions::write(file, &serde_json::to_vec_pretty(all)?)
    }

    /// One change at a time, the daemon's or a command's: what was read in between would be lost.
    fn alone(&self) -> io::Result<fs::File> {
        let Some(file) = &self.0 else { return Err(io::Error::other("no data folder")) };
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        let lock = fs::File::options().create(true).append(true).open(file.with_extension("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    /// The file itself, for whoever watches it.
    pub fn file(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    fn read(&self) -> io::Result<BTreeMap<String, Vec<Approval>>> {
        let Some(file) = &self.0 else { return Ok(BTreeMap::new()) };
        match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| io::Error::other(format!("{}: {error}", file.display()))),
        }
    }
}

/// Whose plugins are loaded, and what they may reach.
#[derive(Debug, Clone, Default)]
pub struct Leave {
    /// Whom the operator trusts.
    pub trust: Trust,
    /// What was granted to plugins that are not shipped.
    pub approvals: Approvals,
}

impl Leave {
    /// As the operator configured it.
    ///
    /// # Errors
    /// A sentence naming the key that is none.
    pub fn new(keys: &[String], unsigned: &[String], data_dir: &Path) -> Result<Self, String> {
        Ok(Self { trust: Trust::new(keys, unsigned)?, approvals: Approvals::in_folder(data_dir) })
    }

    /// For commands that look at plugins and call them for nobody.
    pub fn of_everything() -> Self {
        Self { trust: Trust::everything(), approvals: Approvals::default() }
    }

    /// Where a plugin comes from, if it may run as what it asks for.
    ///
    /// # Errors
    /// [`LoadError::Untrusted`], [`LoadError::NotGranted`].
    pub fn judge(&self, folder: &Path, text: &str, manifest: &Manifest) -> Result<Provenance, LoadError> {
        let file = folder.join(MANIFEST_FILE);
        let untrusted = |problem| LoadError::Untrusted { file: file.clone(), problem };
        let provenance = self.trust.judge(folder, &manifest.name, text).map_err(untrusted)?;
        let reaches = Reaches::of(manifest);
        if provenance == Provenance::Shipped || self.trust.is_everything() || reaches.is_empty() {
            return Ok(provenance);
        }
        let digest = format!("sha256:{}", manifest.sha256);
        let granted = self.approvals.of(&manifest.name, &digest);
        let granted = granted.map_err(|error| untrusted(format!("the grants cannot be read: {error}")))?;
        match granted {
            Some(granted) if reaches.is_within(&granted) => Ok(provenance),
            _ => Err(LoadError::NotGranted { file, name: manifest.name.clone(), digest, asks: reaches.lines() }),
        }
    }

    /// What was granted to this version and is asked for no more, a line each: the next plugin.toml could ask for it unseen.
    pub fn beyond(&self, manifest: &Manifest) -> Vec<String> {
        let granted =
            self.approvals.of(&manifest.name, &format!("sha256:{}", manifest.sha256)).ok().flatten().unwrap_or_default();
        let asked = Reaches::of(manifest).lines();
        granted.lines().into_iter().filter(|line| !asked.contains(line)).collect()
    }

    /// The same as [`Self::judge`] and [`Self::beyond`], of a folder.
    ///
    /// # Errors
    /// As of `judge`, and [`LoadError::Manifest`].
    pub fn judge_folder(&self, folder: &Path) -> Result<(Provenance, Vec<String>), LoadError> {
        let (text, manifest) = load::read_manifest(folder)?;
        Ok((self.judge(folder, &text, &manifest)?, self.beyond(&manifest)))
    }
}
