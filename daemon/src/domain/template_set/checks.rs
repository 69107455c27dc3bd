//! Whether the parts of a template set fit together: said when it is loaded, not when a project is made with it.

use std::collections::BTreeSet;

use super::{EndpointSpec, SecretKind, SecretSpec, TemplateSet, TemplateSetError};

impl TemplateSet {
    /// Whether the parts refer to each other correctly.
    ///
    /// # Errors
    /// [`TemplateSetError`] naming the first thing that does not fit.
    pub fn validate(&self) -> Result<(), TemplateSetError> {
        self.waves()?;
        if let Some(file) = self.files.iter().find(|file| file.service.as_ref().is_some_and(|name| self.service(name).is_none()))
        {
            return Err(self.error(format!("file `{}` is for an unknown service", file.path)));
        }
        let unique = |what: &str, names: Vec<&str>| {
            let mut seen = BTreeSet::new();
            match names.iter().find(|name| !seen.insert(**name)) {
                Some(name) => Err(self.error(format!("{what} `{name}` is declared twice"))),
                None => Ok(()),
            }
        };
        unique("service", self.services.iter().map(|s| s.name.as_str()).collect())?;
        unique("secret", self.secrets.iter().map(|s| s.name.as_str()).collect())?;
        unique("port", self.ports.iter().map(|p| p.name.as_str()).collect())?;
        unique("file", self.files.iter().map(|f| f.path.as_str()).collect())?;
        unique("endpoint", self.endpoints.iter().map(|e| e.name.as_str()).collect())?;
        for endpoint in &self.endpoints {
            self.validate_endpoint(endpoint)?;
        }
        unique("role", self.secrets.iter().filter_map(|s| s.role.as_deref()).collect())?;
        for port in &self.ports {
            if self.service(&port.service).is_none() {
                return Err(self.error(format!("port `{}` names the unknown service `{}`", port.name, port.service)));
            }
        }
        for file in &self.files {
            if u32::from_str_radix(&file.mode, 8).is_err() {
                return Err(self.error(format!("file `{}` has the mode `{}`: write it in octal", file.path, file.mode)));
            }
        }
        unique("purge", self.purges.iter().map(|p| p.name.as_str()).collect())?;
        let budget = self.budget.iter().map(|budget| ("budget", &budget.service, &budget.role));
        for (what, service, role) in budget.chain(self.purges.iter().map(|purge| ("purge", &purge.service, &purge.role))) {
            if self.service(service).is_none() || self.role_secret(role).is_none() {
                return Err(self.error(format!("{what} needs a service and a role with a password: `{service}` and `{role}`")));
            }
        }
        if let Some(purge) = self.purges.iter().find(|purge| purge.every_s == 0) {
            return Err(self.error(format!("purge `{}`: every_s must be at least 1", purge.name)));
        }
        self.secrets.iter().try_for_each(|secret| self.validate_secret(secret))
    }

    fn validate_endpoint(&self, endpoint: &EndpointSpec) -> Result<(), TemplateSetError> {
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let secret = |name: &str| self.secrets.iter().any(|secret| secret.name == name);
        let problem = match endpoint {
            // A name of our own field would hide that field.
            _ if !word(&endpoint.name) || !endpoint.name.ends_with("_url") || endpoint.name == "database_url" => {
                "its name must be a word in small letters that ends in _url, and not database_url"
            }
            _ if !self.ports.iter().any(|port| port.name == endpoint.port) => "port must name a [[port]]",
            _ if !endpoint.path.starts_with('/') => "path must begin with a slash",
            _ if endpoint.password.as_deref().is_some_and(|name| !secret(name)) => "password must name a [[secret]]",
            _ => return Ok(()),
        };
        Err(self.error(format!("endpoint `{}`: {problem}", endpoint.name)))
    }

    fn validate_secret(&self, secret: &SecretSpec) -> Result<(), TemplateSetError> {
        let known = |name: &str| self.secrets.iter().any(|other| other.name == name && other.kind == SecretKind::Random);
        let problem = match secret.kind {
            SecretKind::Jwt if !secret.signed_with.as_deref().is_some_and(known) => "signed_with must name a random secret",
            SecretKind::Jwt if secret.ttl_days == 0 => "ttl_days is missing",
            SecretKind::Random | SecretKind::OwnerPassword if !(8..=256).contains(&secret.bytes) => {
                "bytes must lie between 8 and 256"
            }
            SecretKind::OwnerPassword if secret.admin_role.is_none() || secret.service.is_none() || secret.role.is_none() => {
                "role, admin_role and service are needed"
            }
            _ => return Ok(()),
        };
        Err(self.error(format!("secret `{}`: {problem}", secret.name)))
    }
}
