//! Template sets and image sets, read from disk at start and checked, so that a broken one is found before
//! a project needs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::{ImageSet, TemplateSet, TemplateSetError};

/// A template set with its templates' text.
#[derive(Debug)]
pub struct LoadedSet {
    /// The declaration.
    pub spec: TemplateSet,
    /// Template name -> text.
    pub templates: BTreeMap<String, String>,
}

impl LoadedSet {
    /// In place of a set that is not there any more: what a project has can still be found by label and removed.
    pub fn gone(name: &str) -> Self {
        let spec = TemplateSet {
            name: name.to_owned(),
            description: String::new(),
            postgres_major: None,
            helper: None,
            files: Vec::new(),
            ports: Vec::new(),
            secrets: Vec::new(),
            services: Vec::new(),
            sql: Vec::new(),
        };
        Self { spec, templates: BTreeMap::new() }
    }
}

/// Everything under the templates folder.
#[derive(Debug, Clone)]
pub struct Templates {
    sets: BTreeMap<String, Arc<LoadedSet>>,
    images: BTreeMap<String, Arc<ImageSet>>,
}

/// What is wrong with the templates folder.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// A file cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A set does not fit together.
    #[error(transparent)]
    Set(#[from] TemplateSetError),
}

impl Templates {
    /// Reads `sets/*/set.toml` with their templates and `images/*.toml`.
    ///
    /// # Errors
    /// [`TemplatesError`], which names the file.
    pub fn load(folder: &Path) -> Result<Self, TemplatesError> {
        let mut sets = BTreeMap::new();
        for path in entries(&folder.join("sets"))? {
            if path.join("set.toml").is_file() {
                let set = load_set(&path)?;
                sets.insert(set.spec.name.clone(), Arc::new(set));
            }
        }
        let mut images = BTreeMap::new();
        for path in entries(&folder.join("images"))? {
            if path.extension().is_some_and(|extension| extension == "toml") {
                let set: ImageSet = toml::from_str(&read(&path)?).map_err(|error| wrong(&path, error))?;
                images.insert(set.name.clone(), Arc::new(set));
            }
        }
        Ok(Self { sets, images })
    }

    /// The template set of this name, or the names there are.
    ///
    /// # Errors
    /// The names there are.
    pub fn set(&self, name: &str) -> Result<Arc<LoadedSet>, Vec<String>> {
        self.sets.get(name).cloned().ok_or_else(|| self.sets.keys().cloned().collect())
    }

    /// The image set of this name.
    ///
    /// # Errors
    /// The names there are.
    pub fn images(&self, name: &str) -> Result<Arc<ImageSet>, Vec<String>> {
        self.images.get(name).cloned().ok_or_else(|| self.images.keys().cloned().collect())
    }
}

fn load_set(folder: &Path) -> Result<LoadedSet, TemplatesError> {
    let path = folder.join("set.toml");
    let spec: TemplateSet = toml::from_str(&read(&path)?).map_err(|error| wrong(&path, error))?;
    spec.validate()?;
    let mut templates = BTreeMap::new();
    for file in &spec.files {
        let path = folder.join(&file.template);
        if file.template.contains('/') || file.template.starts_with('.') {
            return Err(wrong(&path, "a template lies directly in its set's folder"));
        }
        templates.insert(file.template.clone(), read(&path)?);
    }
    Ok(LoadedSet { spec, templates })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, TemplatesError> {
    let entries = std::fs::read_dir(folder).map_err(|error| wrong(folder, error))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, TemplatesError> {
    std::fs::read_to_string(path).map_err(|error| wrong(path, error))
}

fn wrong(path: &Path, reason: impl ToString) -> TemplatesError {
    TemplatesError::File { path: path.to_owned(), reason: reason.to_string() }
}
