//! Containers: ensure, adopt, replace, leave alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, InspectContainerOptions, RemoveContainerOptionsBuilder};
use supamanager::backend::{Backend, BackendError, ContainerState, EngineHealth};
use supamanager::stack::{BindMode, HealthCheck, Mount, MountSource, PublishedPort, Ulimit};

use crate::world::{IMAGE, World, with_world};

#[tokio::test]
async fn ensuring_twice_is_ensuring_once() {
    with_world(|world| async move {
        let service = world.service("db", "sleep 600");
        let id = world.running(&service).await;
        assert_eq!(world.backend.ensure_container(&world.spec(&service, "h1")).await.unwrap(), id);
        world.backend.start_container(&id).await.unwrap();
        let seen = world.backend.list_project(&world.labels.installation, &world.labels.project).await.unwrap();
        assert_eq!(seen.containers.len(), 1);
        let found = &seen.containers[0];
        assert_eq!((found.state.clone(), found.name.clone()), (ContainerState::Running, service.container_name.clone()));
        assert_eq!(found.labels, Some(world.spec(&service, "h1").labels));
        let address = world.backend.inspect(&id).await.unwrap().unwrap().address;
        assert!(found.address.is_some() && found.address == address);
        world.backend.stop_container(&id, 1).await.unwrap();
        world.backend.stop_container(&id, 1).await.unwrap();
        let stopped = world.backend.inspect(&id).await.unwrap().unwrap().state;
        assert!(matches!(stopped, ContainerState::Exited { oom_killed: false, .. }));
        assert_eq!(world.backend.list(&world.labels.installation).await.unwrap().containers[0].state, stopped);
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_gone_already_is_fine() {
    with_world(|world| async move {
        let nobody = "f".repeat(64);
        world.backend.remove_container(&nobody).await.unwrap();
        world.backend.remove_network(&nobody).await.unwrap();
        world.backend.remove_volume(&world.name("nothing")).await.unwrap();
        world.backend.stop_container(&nobody, 1).await.unwrap();
        assert!(world.backend.inspect(&nobody).await.unwrap().is_none());
        assert!(matches!(world.backend.start_container(&nobody).await, Err(BackendError::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn another_hash_replaces_ours_and_another_generation_does_not() {
    with_world(|world| async move {
        let service = world.service("db", "sleep 600");
        let first = world.running(&service).await;
        let second = world.backend.ensure_container(&world.spec(&service, "h2")).await.unwrap();
        assert_ne!(first, second);
        let mut later = world.spec(&service, "h2");
        later.labels.generation = 2;
        let third = world.backend.ensure_container(&later).await.unwrap();
        assert_eq!(second, third, "an update leaves alone what it does not change");
        let seen = world.backend.list(&world.labels.installation).await.unwrap();
        assert_eq!(seen.containers.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), [third.as_str()]);
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_container_of_a_network_that_was_made_anew_is_replaced() {
    with_world(|world| async move {
        let service = world.service("db", "sleep 600");
        let first = world.running(&service).await;
        world.backend.stop_container(&first, 1).await.unwrap();
        let network = world.backend.list(&world.labels.installation).await.unwrap().networks.remove(0);
        world.backend.remove_network(&network.id).await.unwrap();
        let second = world.running(&service).await;
        assert_ne!(first, second);
        assert_eq!(world.backend.inspect(&second).await.unwrap().unwrap().state, ContainerState::Running);
        world.remove_all().await;
    })
    .await;
}

async fn foreign(world: &World, name: &str, labels: &[(&str, String)]) -> String {
    let body = ContainerCreateBody {
        image: Some(IMAGE.into()),
        cmd: Some(vec!["/bin/sleep".into(), "600".into()]),
        labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<HashMap<_, _>>()),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    world.raw.create_container(Some(options), body).await.unwrap().id
}

async fn remove_foreign(world: &World, id: &str) {
    let still_there = world.raw.inspect_container(id, None::<InspectContainerOptions>).await;
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    world.raw.remove_container(id, Some(options)).await.unwrap();
    assert!(still_there.is_ok(), "a foreign container was touched");
}

#[tokio::test]
async fn a_foreign_container_of_that_name_is_told_and_left_alone() {
    with_world(|world| async move {
        let service = world.service("db", "sleep 600");
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        // Nearly ours: the project's and the service's label, but another installation's.
        let project = world.labels.project.to_string();
        let labels = [
            ("io.supamanager.installation", "0".repeat(32)),
            ("io.supamanager.project", project.clone()),
            ("io.supamanager.service", "db".to_owned()),
            ("com.docker.compose.project", project),
        ];
        let id = foreign(&world, &service.container_name, &labels).await;
        let error = world.backend.ensure_container(&world.spec(&service, "h1")).await.unwrap_err();
        assert!(
            matches!(&error, BackendError::NameTaken { kind: "container", name } if *name == service.container_name),
            "{error}"
        );
        remove_foreign(&world, &id).await;
        // And one without any label cannot be removed by mistake either.
        let id = foreign(&world, &world.name("decoy"), &[]).await;
        assert!(matches!(world.backend.remove_container(&id).await, Err(BackendError::Rejected { .. })));
        remove_foreign(&world, &id).await;
        world.remove_all().await;
    })
    .await;
}

fn published(host_port: u16) -> PublishedPort {
    PublishedPort { host_address: IpAddr::V4(Ipv4Addr::LOCALHOST), host_port, container_port: 8000 }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    with_world(|world| async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut service = world.service("api", "sleep 600");
        service.ports.push(published(port));
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let id = world.backend.ensure_container(&world.spec(&service, "h1")).await.unwrap();
        // A process of the host holds it.
        let error = world.backend.start_container(&id).await.unwrap_err();
        assert!(matches!(error, BackendError::PortTaken { port: taken, .. } if taken == port), "{error}");
        drop(listener);
        world.backend.start_container(&id).await.unwrap();
        let seen = world.backend.list(&world.labels.installation).await.unwrap();
        assert_eq!(seen.containers[0].published, [port]);
        assert_eq!(world.backend.inspect(&id).await.unwrap().unwrap().published, [port]);
        // Another container holds it.
        let mut other = world.service("other", "sleep 600");
        other.ports.push(published(port));
        let id = world.backend.ensure_container(&world.spec(&other, "h1")).await.unwrap();
        let error = world.backend.start_container(&id).await.unwrap_err();
        assert!(matches!(error, BackendError::PortTaken { port: taken, .. } if taken == port), "{error}");
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn an_image_that_is_not_there_is_named() {
    with_world(|world| async move {
        let mut service = world.service("db", "sleep 600");
        service.image = "supamanager-test/nothing:1".into();
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let mut spec = world.spec(&service, "h1");
        spec.image_digest = format!("sha256:{}", "0".repeat(64));
        let error = world.backend.ensure_container(&spec).await.unwrap_err();
        assert!(matches!(&error, BackendError::ImageUnavailable { image, .. } if *image == service.image), "{error}");
        assert_eq!(world.backend.image_digest(&service.image).await.unwrap(), None);
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn everything_in_the_spec_reaches_the_engine_and_nothing_else() {
    with_world(|world| async move {
        let mut service = world.service("db", "sleep 600");
        service.user = Some("65521:65521".into());
        service.hostname = Some("db-host".into());
        service.stop_signal = Some("SIGINT".into());
        service.ulimits.push(Ulimit { name: "nofile".into(), soft: 512, hard: 1024 });
        service.aliases = vec!["realtime-dev.supabase-realtime".into()];
        let prefix = world.network.subnet.rsplit_once('.').unwrap().0.to_owned();
        let first: u8 = world.network.subnet.rsplit_once('.').unwrap().1.trim_end_matches("/27").parse().unwrap();
        service.ipv4_address = Some(format!("{prefix}.{}", first + 30).parse().unwrap());
        service.mounts.push(Mount {
            source: MountSource::Folder("volumes/data".into()),
            target: "/data".into(),
            mode: BindMode::ReadOnly,
        });
        service.healthcheck = Some(HealthCheck {
            test: vec!["CMD".into(), "/bin/cat".into(), "/etc/from-image".into()],
            interval_ms: 1_000,
            timeout_ms: 5_000,
            retries: 3,
            start_period_ms: 0,
        });
        let id = world.running(&service).await;
        let raw = world.raw.inspect_container(&id, None::<InspectContainerOptions>).await.unwrap();
        let (config, host) = (raw.config.unwrap(), raw.host_config.unwrap());
        let label = |key: &str| config.labels.as_ref().unwrap().get(key).cloned().unwrap_or_default();
        let project = world.labels.project.to_string();
        // What `docker compose -p <ref> ps` and `logs` look for (decision 16).
        assert_eq!(label("com.docker.compose.project"), project);
        assert_eq!(label("com.docker.compose.service"), "db");
        assert_eq!(label("com.docker.compose.oneoff"), "False");
        assert_eq!(label("com.docker.compose.container-number"), "1");
        assert_eq!(label("com.docker.compose.config-hash"), "h1");
        assert_eq!(label("io.supamanager.name"), "Café $5");
        assert_eq!(label("io.supamanager.project"), project);
        assert_eq!(config.image.as_deref(), Some(IMAGE));
        assert_eq!(raw.image.as_deref(), Some(world.image_digest.as_str()));
        assert_eq!(config.user.as_deref(), Some("65521:65521"));
        assert_eq!(config.hostname.as_deref(), Some("db-host"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert!(config.env.unwrap().contains(&"TOKEN=s3cret".to_owned()));
        assert_eq!((host.privileged, host.pids_limit, host.init), (Some(false), Some(32), Some(true)));
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
        assert_eq!(host.restart_policy.unwrap().name.unwrap().to_string(), "unless-stopped");
        assert_eq!(host.log_config.unwrap().config.unwrap()["max-size"], "1m");
        assert_eq!(host.ulimits.unwrap()[0].hard, Some(1024));
        assert_eq!((host.cap_add, host.devices.unwrap_or_default().len(), host.binds), (None, 0, None));
        let endpoint = raw.network_settings.unwrap().networks.unwrap().remove(&world.network.name).unwrap();
        assert_eq!(endpoint.ip_address.unwrap(), service.ipv4_address.unwrap().to_string());
        let aliases = endpoint.aliases.unwrap();
        assert!(aliases.contains(&"db".to_owned()) && aliases.contains(&"realtime-dev.supabase-realtime".to_owned()));
        for _ in 0..100 {
            if world.backend.inspect(&id).await.unwrap().unwrap().health == EngineHealth::Healthy {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(world.backend.inspect(&id).await.unwrap().unwrap().health, EngineHealth::Healthy);
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_reference_that_means_another_image_by_now_is_not_used() {
    with_world(|world| async move {
        let mut service = world.service("db", "sleep 600");
        service.image = "supamanager-test/moved:1".into();
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let id = world.backend.ensure_container(&world.spec(&service, "h1")).await.unwrap();
        let raw = world.raw.inspect_container(&id, None::<InspectContainerOptions>).await.unwrap();
        assert_eq!(raw.image.as_deref(), Some(world.image_digest.as_str()));
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_bind_source_must_be_there_and_be_no_symlink() {
    with_world(|world| async move {
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let mut service = world.service("db", "sleep 600");
        let mount = |source: &str| Mount {
            source: MountSource::Folder(source.into()),
            target: "/data".into(),
            mode: BindMode::ReadWrite,
        };
        std::os::unix::fs::symlink("/root", world.folder.join("volumes/escape")).unwrap();
        std::os::unix::fs::symlink("volumes", world.folder.join("way")).unwrap();
        for source in ["volumes/missing", "volumes/escape", "way/data", "volumes/../volumes/data", "/root"] {
            service.mounts = vec![mount(source)];
            let error = world.backend.ensure_container(&world.spec(&service, "h1")).await.unwrap_err();
            assert!(matches!(error, BackendError::Rejected { .. }), "{source}: {error}");
        }
        assert!(!world.folder.join("volumes/missing").exists(), "a missing source was made");
        service.mounts = vec![mount("volumes/data")];
        let id = world.backend.ensure_container(&world.spec(&service, "h1")).await.unwrap();
        // Gone between the look and the start: the engine itself refuses, and makes nothing.
        std::fs::remove_dir(world.folder.join("volumes/data")).unwrap();
        assert!(world.backend.start_container(&id).await.is_err());
        assert!(!world.folder.join("volumes/data").exists(), "a missing source was made by the engine");
        world.remove_all().await;
    })
    .await;
}
