//! What plugins that are not shipped ask for, and whether somebody granted it: for who grants over REST.

use super::approvals::{Approval, Reaches};
use super::host::PluginHost;
use super::load::{self, LoadError};
use super::manifest::Manifest;
use super::shadow::CANDIDATES;

/// What a plugin of the folder asks for.
#[derive(Debug, Clone)]
pub struct GrantInfo {
    /// Its name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The digest that a grant is for.
    pub digest: String,
    /// Of everything that it asks for: a grant names it too.
    pub asks_digest: String,
    /// It lies among the versions that are to be tried, and not in the folder itself.
    pub candidate: bool,
    /// A line each; empty: nothing has to be granted.
    pub asks: Vec<String>,
    /// `shipped`, `signed by KEY` or `unsigned`, when it may run.
    pub provenance: Option<String>,
    /// Why it may not.
    pub problem: Option<String>,
}

/// Why nothing was granted or taken back.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// No such plugin.
    #[error("the folder of plugins has no `{0}`")]
    Unknown(String),
    /// It is not what somebody looked at.
    #[error("plugin `{plugin}` is not {given} there, but {found}: look at what it asks for")]
    OtherDigest {
        /// The plugin.
        plugin: String,
        /// What was given.
        given: String,
        /// What is there.
        found: String,
    },
    /// It asks for something else than what somebody looked at.
    #[error("plugin `{0}` asks for something else now than what was looked at: look again")]
    OtherAsks(String),
    /// Nothing was granted.
    #[error("nothing was granted to `{0}`")]
    Nothing(String),
    /// The folder cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The grants cannot be written.
    #[error("the grants were not written: {0}: see to the data folder")]
    Write(#[from] std::io::Error),
}

impl PluginHost {
    /// What every plugin of the folder asks for, and every version that is to be tried.
    ///
    /// # Errors
    /// When the folder cannot be read, or one of its manifests.
    pub fn grants(&self) -> Result<Vec<GrantInfo>, LoadError> {
        let candidates = self.folder.join(CANDIDATES);
        let tried = if candidates.is_dir() { load::plugin_folders(&candidates)? } else { Vec::new() };
        let folders = load::plugin_folders(&self.folder)?.into_iter().map(|folder| (folder, false));
        let all = folders.chain(tried.into_iter().map(|folder| (folder, true)));
        all.map(|(folder, candidate)| {
            let (text, manifest) = load::read_manifest(&folder)?;
            let reaches = Reaches::of(&manifest);
            let judged = self.loader.leave.judge(&folder, &text, &manifest);
            Ok(GrantInfo {
                version: manifest.version.clone(),
                digest: digest(&manifest),
                candidate,
                asks_digest: reaches.digest(),
                asks: reaches.lines(),
                provenance: judged.as_ref().ok().map(ToString::to_string),
                problem: judged.err().map(|error| error.to_string()),
                plugin: manifest.name,
            })
        })
        .collect()
    }

    /// Grants everything that the plugin of this digest asks for, if that is what was looked at. A reload takes it in.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn grant(&self, name: &str, given: &str, looked_at: &str) -> Result<(), GrantError> {
        let mut found = Vec::new();
        for parent in [self.folder.clone(), self.folder.join(CANDIDATES)] {
            let Some(folder) = load::plugin_folders(&parent)
                .unwrap_or_default()
                .into_iter()
                .find(|folder| folder.file_name().is_some_and(|file| file == name))
            else {
                continue;
            };
            let (_, manifest) = load::read_manifest(&folder)?;
            load::read_component(&folder, &manifest)?;
            if digest(&manifest) == given {
                let reaches = Reaches::of(&manifest);
                if reaches.digest() != looked_at {
                    return Err(GrantError::OtherAsks(name.to_owned()));
                }
                let approval = Approval { digest: given.to_owned(), reaches };
                return Ok(self.loader.leave.approvals.grant(name, approval)?);
            }
            found.push(digest(&manifest));
        }
        match found.is_empty() {
            true => Err(GrantError::Unknown(name.to_owned())),
            false => Err(GrantError::OtherDigest { plugin: name.to_owned(), given: given.to_owned(), found: found.join(" or ") }),
        }
    }

    /// Takes back what all versions of a plugin were granted. A reload stops it.
    ///
    /// # Errors
    /// [`GrantError::Nothing`], [`GrantError::Write`].
    pub fn revoke(&self, name: &str) -> Result<(), GrantError> {
        match self.loader.leave.approvals.revoke(name)? {
            true => Ok(()),
            false => Err(GrantError::Nothing(name.to_owned())),
        }
    }
}

fn digest(manifest: &Manifest) -> String {
    format!("sha256:{}", manifest.sha256)
}
