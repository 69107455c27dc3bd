//! Template sets and image sets, read from disk at start and checked, so that a broken one is found before
//! a project needs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::domain::{ExtendingSet, ImageSet, ServiceName, Shape, TemplateSet, TemplateSetError};

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
            planning: None,
            files: Vec::new(),
            ports: Vec::new(),
            secrets: Vec::new(),
            services: Vec::new(),
            sql: Vec::new(),
            endpoints: Vec::new(),
            budget: None,
            purges: Vec::new(),
        };
        Self { spec, templates: BTreeMap::new() }
    }
}

/// Everything under the templates folder.
#[derive(Debug, Clone)]
pub struct Templates {
    sets: BTreeMap<String, Arc<LoadedSet>>,
    images: BTreeMap<String, Arc<ImageSet>>,
    /// Sets with services off, made when they are first asked for: as many as projects differ in.
    reduced: Arc<Mutex<Reduced>>,
}

type Reduced = BTreeMap<(String, Vec<ServiceName>), Arc<LoadedSet>>;

/// Why a shape has no template set.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// There is none of that name.
    #[error("there is no template set `{name}`: use one of {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// It does not go without these services.
    #[error(transparent)]
    Without(#[from] TemplateSetError),
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
        let mut sets: BTreeMap<String, Arc<LoadedSet>> = BTreeMap::new();
        let mut extending = Vec::new();
        for path in entries(&folder.join("sets"))? {
            let file = path.join("set.toml");
            if !file.is_file() {
                continue;
            }
            let table: toml::Table = toml::from_str(&read(&file)?).map_err(|error| wrong(&file, error))?;
            if table.contains_key("extends") {
                let set: ExtendingSet = table.try_into().map_err(|error| wrong(&file, error))?;
                extending.push((file, set));
            } else {
                let set = load_set(&path)?;
                sets.insert(set.spec.name.clone(), Arc::new(set));
            }
        }
        // Only a whole set is extended: no chain, no circle.
        let whole_sets = sets.clone();
        for (file, set) in extending {
            let known = whole_sets.keys().cloned().collect::<Vec<_>>().join(", ");
            let whole = whole_sets.get(&set.extends);
            let whole = whole.ok_or_else(|| wrong(&file, format!("it extends `{}`: use one of {known}", set.extends)))?;
            let spec = whole.spec.extended(set).map_err(|error| wrong(&file, error))?;
            let loaded = LoadedSet { spec, templates: whole.templates.clone() };
            sets.insert(loaded.spec.name.clone(), Arc::new(loaded));
        }
        let mut images = BTreeMap::new();
        for path in entries(&folder.join("images"))? {
            if path.extension().is_some_and(|extension| extension == "toml") {
                let set: ImageSet = toml::from_str(&read(&path)?).map_err(|error| wrong(&path, error))?;
                images.insert(set.name.clone(), Arc::new(set));
            }
        }
        Ok(Self { sets, images, reduced: Arc::default() })
    }

    /// The template set of a shape, less the services that are off.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn of_shape(&self, shape: &Shape) -> Result<Arc<LoadedSet>, ShapeError> {
        let whole = self.set(&shape.template_set);
        let whole = whole.map_err(|known| ShapeError::Unknown { name: shape.template_set.clone(), known })?;
        if shape.without.is_empty() {
            return Ok(whole);
        }
        let key = (shape.template_set.clone(), shape.without.clone());
        let mut reduced = self.reduced.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(set) = reduced.get(&key) {
            return Ok(set.clone());
        }
        let spec = whole.spec.without(&shape.without)?;
        let set = Arc::new(LoadedSet { spec, templates: whole.templates.clone() });
        reduced.insert(key, set.clone());
        Ok(set)
    }

    /// The template set of this name, or the names there are.
    ///
    /// # Errors
    /// The names there are.
    pub fn set(&self, name: &str) -> Result<Arc<LoadedSet>, Vec<String>> {
        self.sets.get(name).cloned().ok_or_else(|| self.sets.keys().cloned().collect())
    }

    /// The names of all template sets.
    pub fn set_names(&self) -> Vec<String> {
        self.sets.keys().cloned().collect()
    }

    /// The names of all image sets.
    pub fn image_set_names(&self) -> Vec<String> {
        self.images.keys().cloned().collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Bytes, Resources, ServiceName};

    fn shipped() -> Templates {
        Templates::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../templates"))).expect("the shipped templates")
    }

    #[test]
    fn lean_is_the_default_without_three_services_and_what_belongs_to_them() {
        let templates = shipped();
        let (whole, lean) = (templates.set("supabase").expect("a set"), templates.set("lean").expect("a set"));
        let names = |set: &LoadedSet| set.spec.services.iter().map(|service| service.name.to_string()).collect::<Vec<_>>();
        let gone = ["analytics", "vector", "imgproxy"];
        let rest: Vec<String> = names(&whole).into_iter().filter(|name| !gone.contains(&name.as_str())).collect();
        assert_eq!((names(&lean), rest.len()), (rest, 7));
        assert!(whole.spec.files.iter().any(|file| file.path == "vector.yml"));
        assert!(!lean.spec.files.iter().any(|file| file.path == "vector.yml"));
        assert_eq!((whole.spec.purges.len(), lean.spec.purges.len()), (1, 0), "without its log store there is nothing to purge");
        assert!(lean.spec.budget.is_some(), "a lean project can be full too");
        assert_eq!(lean.spec.waves().expect("an order").len(), 4, "nobody waits for what is not there");
    }

    #[test]
    fn every_image_set_has_an_image_for_every_service_of_every_template_set() {
        let templates = shipped();
        assert!(templates.image_set_names().contains(&"cli-2023-12".to_owned()));
        for set in templates.set_names() {
            for name in templates.image_set_names() {
                let (set, images) = (templates.set(&set).expect("a set"), templates.images(&name).expect("an image set"));
                let missing = set.spec.services.iter().find(|service| !images.images.contains_key(&service.image));
                assert!(missing.is_none(), "{name} has no image for {missing:?} of {}", set.spec.name);
                assert!(images.nofile.keys().all(|key| images.images.contains_key(key)), "{name}");
            }
        }
    }

    #[test]
    fn studio_is_the_default_with_an_eleventh_service_and_another_probe_for_one() {
        let templates = shipped();
        let (whole, studio) = (templates.set("supabase").expect("a set"), templates.set("studio").expect("a set"));
        assert_eq!(studio.spec.services.len(), whole.spec.services.len() + 1);
        let [endpoint] = studio.spec.endpoints.as_slice() else { panic!("one endpoint") };
        assert_eq!((endpoint.name.as_str(), endpoint.password.as_deref()), ("studio_url", Some("DASHBOARD_PASSWORD")));
        let port = studio.spec.ports.iter().find(|port| port.name == endpoint.port).expect("its port");
        // Never the service itself: it has no login of its own.
        assert_eq!((port.service.as_str(), port.range.as_str()), ("kong", "studio"));
        let probe = |set: &LoadedSet| set.spec.service(&port.service).expect("there").probe["status"].to_string();
        assert_eq!((probe(&whole).as_str(), probe(&studio).as_str()), ("[404]", "[401]"));
        assert!(whole.spec.endpoints.is_empty());
    }

    #[test]
    fn an_endpoint_names_what_is_there() {
        let whole = shipped().set("supabase").expect("a set");
        let refused = |text: &str| {
            let text = format!("name = 'x'\nextends = 'supabase'\n[[endpoint]]\n{text}");
            whole.spec.extended(toml::from_str(&text).expect("test data")).expect_err("refused").to_string()
        };
        assert!(refused("name = 'a_url'\nport = 'nowhere'\npath = '/'").contains("port must name"));
        assert!(refused("name = 'status'\nport = 'api'\npath = '/'").contains("ends in _url"));
        assert!(refused("name = 'database_url'\nport = 'api'\npath = '/'").contains("not database_url"));
        assert!(refused("name = 'a_url'\nport = 'api'\npath = 'x'").contains("slash"));
        assert!(refused("name = 'a_url'\nport = 'api'\npath = '/'\npassword = 'NONE'").contains("[[secret]]"));
    }

    #[test]
    fn what_the_design_gives_a_project_is_enough_for_every_shipped_set() {
        let designed = Resources::default().overlaid(Some("1.0"), Some("2GB"), Some("10GB")).expect("amounts");
        for name in ["supabase", "lean"] {
            let set = shipped().set(name).expect("a set");
            let parts = set.spec.split(&designed).expect("enough");
            assert_eq!(parts.len(), set.spec.services.len());
            let memory: u64 = parts.values().filter_map(|limits| limits.memory).map(Bytes::get).sum();
            assert!((1_999_000_000..=2_000_000_000).contains(&memory), "{name}: {memory}");
        }
        let little = designed.overlaid(None, Some("1GB"), None).expect("amounts");
        let said = shipped().set("supabase").expect("a set").spec.split(&little).expect_err("too little").to_string();
        assert_eq!(said, "resources.memory is 1GB: the services of the template set `supabase` need 1488MiB together at least");
    }

    #[test]
    fn a_set_cannot_go_without_what_it_needs_or_never_had() {
        let whole = shipped().set("supabase").expect("a set");
        let without =
            |name: &str| whole.spec.without(&[ServiceName::parse(name).expect("a name")]).expect_err("refused").to_string();
        assert!(without("db").contains("needs it"), "{}", without("db"));
        assert!(without("cache").contains("no service `cache`"), "{}", without("cache"));
    }
}
