//! The project's network. Older engines make a second one of the same name without a word (moby #18864), so a create
//! is always followed by another look, and the oldest of ours stays.

use bollard::models::{Ipam, IpamConfig, Network, NetworkCreateRequest};
use std::collections::HashMap;

use super::DockerBackend;
use super::errors::Cause;
use super::labels;
use crate::backend::{BackendError, NetworkSpec, Result, keys};

/// Looks after a create: one to see it, one more when a duplicate was removed, one for a lost reply.
const ATTEMPTS: usize = 4;

impl DockerBackend {
    /// Matched by installation, project and addresses. The generation is not compared: the network outlives one.
    pub(super) async fn network_there(&self, spec: &NetworkSpec<'_>) -> Result<String> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            if let Some(id) = self.only_network(spec).await? {
                return Ok(id);
            }
            let request = request(spec);
            match self.change("create network", |docker| async move { docker.create_network(request).await }).await {
                Ok(_) => {}
                // The reply is lost or somebody was faster: the next look decides.
                Err(failure) if failure.is_reply_lost() || failure.cause == Cause::NameInUse => last = Some(failure),
                Err(failure) => return Err(failure.about_subnet(&spec.network.subnet)),
            }
        }
        Err(last.map_or_else(
            || BackendError::Busy { what: "create network".into(), reason: "it was made and is not there".into() },
            BackendError::from,
        ))
    }

    /// The network to keep; others of ours in its place are removed.
    async fn only_network(&self, spec: &NetworkSpec<'_>) -> Result<Option<String>> {
        let by_name = HashMap::from([("name".to_owned(), vec![spec.network.name.clone()])]);
        let of_project = labels::filter(&spec.labels.installation, Some(&spec.labels.project), &[]);
        // The name filter matches parts of names too.
        let foreign = |network: &Network| {
            network.name.as_deref() == Some(&spec.network.name) && !labels::is_of(network.labels.as_ref(), &spec.labels)
        };
        for other in self.networks_with(&by_name).await?.iter().filter(|network| foreign(network)) {
            if !labels::is_composed(other.labels.as_ref(), &spec.network.labels, &spec.labels.project) {
                return Err(BackendError::NameTaken { kind: "network", name: spec.network.name.clone() });
            }
            self.composed_network_gone(other, spec).await?;
        }
        let mut ours = self.networks_with(&of_project).await?;
        ours.sort_by_cached_key(|network| network.created.as_deref().map(sortable));
        let keep = ours.iter().position(|network| fits(network, spec)).map(|at| ours.remove(at));
        for other in ours {
            self.network_gone(&other.id.unwrap_or_default()).await?;
        }
        Ok(keep.and_then(|network| network.id))
    }

    /// Compose made it anew after a `docker compose down`, and its containers hold it: they go with it (decision 16).
    async fn composed_network_gone(&self, network: &Network, spec: &NetworkSpec<'_>) -> Result<()> {
        let labels = HashMap::from([(keys::PROJECT.to_owned(), spec.labels.project.to_string())]);
        self.composed_users_gone(&labels).await?;
        let id = network.id.clone().unwrap_or_default();
        match self.change("remove network", |docker| async move { docker.remove_network(&id).await }).await {
            Err(failure) if failure.cause != Cause::NotFound => Err(failure.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn network_gone(&self, id: &str) -> Result<()> {
        let what = format!("remove network {id}");
        let found = match self
            .read(&what, |docker| async move {
                docker.inspect_network(id, None::<bollard::query_parameters::InspectNetworkOptions>).await
            })
            .await
        {
            Ok(found) => found,
            Err(failure) if failure.cause == Cause::NotFound => return Ok(()),
            Err(failure) => return Err(failure.into()),
        };
        if !labels::is_managed(found.labels.as_ref()) {
            return Err(BackendError::Rejected { what, reason: "it is not ours".to_owned() });
        }
        let remove = || async { self.change(&what, |docker| async move { docker.remove_network(id).await }).await };
        let mut removed = remove().await;
        if matches!(&removed, Err(failure) if failure.cause == Cause::Busy)
            && self.composed_users_gone(&found.labels.unwrap_or_default()).await?
        {
            removed = remove().await;
        }
        match removed {
            Err(failure) if failure.cause == Cause::Busy && self.is_empty(id).await? => {
                let reason = "the engine counts containers in it and has none (moby issue 42119): restart the engine";
                Err(BackendError::Busy { what, reason: reason.to_owned() })
            }
            Err(failure) if failure.cause != Cause::NotFound => Err(failure.into()),
            _ => Ok(()),
        }
    }

    /// Whether no container is in the network, running or made for it.
    async fn is_empty(&self, id: &str) -> Result<bool> {
        let filter = HashMap::from([("network".to_owned(), vec![id.to_owned()])]);
        Ok(self.containers_with(&filter).await?.is_empty())
    }
}

fn request(spec: &NetworkSpec<'_>) -> NetworkCreateRequest {
    let network = spec.network;
    NetworkCreateRequest {
        name: network.name.clone(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam {
            driver: Some("default".to_owned()),
            config: Some(vec![IpamConfig {
                subnet: Some(network.subnet.clone()),
                gateway: network.gateway.clone(),
                ip_range: network.ip_range.clone(),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        labels: Some(labels::of_network(&network.labels, &spec.labels)),
        ..NetworkCreateRequest::default()
    }
}

fn fits(found: &Network, spec: &NetworkSpec<'_>) -> bool {
    let config = found.ipam.as_ref().and_then(|ipam| ipam.config.as_ref()).and_then(|configs| configs.first());
    let same = |found: &Option<String>, wanted: &Option<String>| wanted.is_none() || found == wanted;
    found.name.as_deref() == Some(&spec.network.name)
        && config.is_some_and(|config| {
            config.subnet.as_deref() == Some(&spec.network.subnet)
                && same(&config.gateway, &spec.network.gateway)
                && same(&config.ip_range, &spec.network.ip_range)
        })
}

/// Times come with as many digits behind the point as are not zero, so text does not sort as they do.
fn sortable(time: &str) -> (String, String) {
    let (whole, rest) = time.split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    let fraction: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (whole.to_owned(), format!("{fraction:0<9}"))
}

#[cfg(test)]
mod tests {
    use super::sortable;

    #[test]
    fn times_sort_by_their_value() {
        let mut times = ["2024-01-31T10:00:05.12Z", "2024-01-31T10:00:05.1Z", "2024-01-31T10:00:06Z", "2024-01-31T10:00:05Z"];
        times.sort_by_cached_key(|time| sortable(time));
        assert_eq!(times, ["2024-01-31T10:00:05Z", "2024-01-31T10:00:05.1Z", "2024-01-31T10:00:05.12Z", "2024-01-31T10:00:06Z"]);
    }
}
