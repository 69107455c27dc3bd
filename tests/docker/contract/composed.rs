//! What Compose made from a project's rendered file gives way (decision 16): somebody ran `docker compose up` in its
//! folder. The same body on the fake engine and on the real one.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, HostConfig, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, InspectNetworkOptions, RemoveContainerOptionsBuilder,
    StartContainerOptions,
};
use supamanager_tests::fake::{Container, Network, State};

use super::*;
use crate::world::IMAGE;

/// What somebody does beside the daemon.
enum Hand<'a> {
    Fake(&'a FakeEngine),
    Real(&'a World),
}

impl Hand<'_> {
    /// A running container on the project's network, with the labels that Compose gives it for this project and service.
    async fn container(&self, name: &str, network: &str, (project, service): (&ProjectRef, &str)) -> String {
        match self {
            Self::Fake(engine) => {
                let id = format!("compose {name}");
                let made = Container {
                    id: id.clone(),
                    name: name.to_owned(),
                    composed: Some((project.clone(), ServiceName::parse(service).unwrap())),
                    state: State::Running { since: 0 },
                    digest: "sha256:tiny".to_owned(),
                    network: network.to_owned(),
                    ..Container::default()
                };
                engine.look().containers.insert(id.clone(), made);
                id
            }
            Self::Real(world) => {
                let labels = [
                    ("com.docker.compose.project", project.to_string()),
                    ("com.docker.compose.service", service.to_owned()),
                    ("io.supamanager.project", project.to_string()),
                    ("io.supamanager.service", service.to_owned()),
                ];
                let body = ContainerCreateBody {
                    image: Some(IMAGE.into()),
                    cmd: Some(vec!["/bin/sleep".into(), "600".into()]),
                    labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<HashMap<_, _>>()),
                    host_config: Some(HostConfig { network_mode: Some(network.to_owned()), ..HostConfig::default() }),
                    stop_timeout: Some(1),
                    ..ContainerCreateBody::default()
                };
                let options = CreateContainerOptionsBuilder::new().name(name).build();
                let id = world.raw.create_container(Some(options), body).await.unwrap().id;
                world.raw.start_container(&id, None::<StartContainerOptions>).await.unwrap();
                id
            }
        }
    }

    /// A network as Compose makes it from the file.
    async fn network(&self, name: &str, project: &ProjectRef, subnet: &str) -> String {
        match self {
            Self::Fake(engine) => {
                let id = "a network of compose".to_owned();
                let made = Network {
                    id: id.clone(),
                    name: name.to_owned(),
                    labels: None,
                    composed: Some(project.clone()),
                    subnet: subnet.to_owned(),
                };
                engine.look().networks.insert(id.clone(), made);
                id
            }
            Self::Real(world) => {
                let config = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
                let labels = [("com.docker.compose.project", project), ("io.supamanager.project", project)];
                let request = NetworkCreateRequest {
                    name: name.to_owned(),
                    ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
                    labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_string())).collect()),
                    ..NetworkCreateRequest::default()
                };
                world.raw.create_network(request).await.unwrap().id
            }
        }
    }

    async fn is_there(&self, id: &str) -> bool {
        match self {
            Self::Fake(engine) => {
                let world = engine.look();
                world.containers.contains_key(id) || world.networks.contains_key(id)
            }
            Self::Real(world) => {
                world.raw.inspect_container(id, None::<InspectContainerOptions>).await.is_ok()
                    || world.raw.inspect_network(id, None::<InspectNetworkOptions>).await.is_ok()
            }
        }
    }

    async fn remove(&self, id: &str) {
        match self {
            Self::Fake(engine) => drop(engine.look().containers.remove(id)),
            Self::Real(world) => {
                let options = RemoveContainerOptionsBuilder::new().force(true).build();
                world.raw.remove_container(id, Some(options)).await.unwrap();
            }
        }
    }
}

async fn composed(stage: &Stage, hand: &Hand<'_>) {
    let project = stage.labels.project.clone();
    let mut service = stage.service("db", "exec sleep 600");
    service.labels.insert("io.supamanager.project".to_owned(), project.to_string());
    let network = model_network(&project, &stage.subnet).name;
    // As Compose leaves it: ours is gone, its own has the name.
    let ours = stage.running(&service).await;
    stage.backend.remove_container(&ours).await.unwrap();
    let theirs = hand.container(&service.container_name, &network, (&project, "db")).await;
    assert_eq!(stage.counts().await, (0, 1, 0));
    let again = stage.running(&service).await;
    assert!(!hand.is_there(&theirs).await, "Compose's container is still there");
    assert_eq!((stage.state(&again).await, stage.counts().await), (Some(ContainerState::Running), (1, 1, 0)));
    stage.backend.remove_container(&again).await.unwrap();

    // Nearly: of another project, of another service. Neither is ours to remove.
    let other = ProjectRef::parse(&"q".repeat(20)).unwrap();
    for of in [(&other, "db"), (&project, "web")] {
        let foreign = hand.container(&service.container_name, &network, of).await;
        let error = stage.container(&*stage.backend, &service, "h1", 1).await.unwrap_err();
        assert!(matches!(error, BackendError::NameTaken { kind: "container", .. }), "{error}");
        assert!(hand.is_there(&foreign).await, "a foreign container was removed");
        hand.remove(&foreign).await;
    }

    // After a `docker compose down` the network is Compose's, too, and its containers hold it.
    let seen = stage.backend.list(&stage.labels.installation).await.unwrap();
    stage.backend.remove_network(&seen.networks[0].id).await.unwrap();
    let made = hand.network(&network, &project, &stage.subnet).await;
    let theirs = hand.container(&service.container_name, &network, (&project, "db")).await;
    let again = stage.running(&service).await;
    assert!(!hand.is_there(&made).await && !hand.is_there(&theirs).await);
    assert_eq!((stage.state(&again).await, stage.counts().await), (Some(ContainerState::Running), (1, 1, 0)));

    // What holds the project's network while the project goes.
    stage.backend.remove_container(&again).await.unwrap();
    let theirs = hand.container(&service.container_name, &network, (&project, "db")).await;
    let seen = stage.backend.list(&stage.labels.installation).await.unwrap();
    stage.backend.remove_network(&seen.networks[0].id).await.unwrap();
    assert!(!hand.is_there(&theirs).await && stage.counts().await == (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_compose_made_gives_way_on_the_fake() {
    let stage = Stage::fake();
    let Kind::Fake(engine) = &stage.kind else { panic!("the fake") };
    composed(&stage, &Hand::Fake(engine)).await;
}

#[tokio::test]
async fn what_compose_made_gives_way_on_the_real_one() {
    with_world(|world| async move {
        composed(&Stage::real(&world), &Hand::Real(&world)).await;
        world.remove_all().await;
    })
    .await;
}
