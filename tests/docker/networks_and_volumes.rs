//! Networks and volumes.

use std::collections::HashMap;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, RemoveVolumeOptions};
use supamanager::backend::{Backend, BackendError};
use supamanager::stack::{BindMode, Mount, MountSource, Network};

use crate::world::{World, with_world};

fn by_hand(network: &Network, labels: HashMap<String, String>, subnet: &str) -> NetworkCreateRequest {
    NetworkCreateRequest {
        name: network.name.clone(),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() }]),
            ..Ipam::default()
        }),
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    }
}

/// A /29 of 10.198.0.0/16, for networks made behind the backend's back.
fn another_subnet(world: &World) -> String {
    let number = world.network.subnet.trim_start_matches("10.199.").trim_end_matches("/27").to_owned();
    format!("10.198.{number}/29")
}

#[tokio::test]
async fn a_network_is_made_once_with_its_labels() {
    with_world(|world| async move {
        let id = world.backend.ensure_network(&world.network_spec()).await.unwrap();
        assert_eq!(world.backend.ensure_network(&world.network_spec()).await.unwrap(), id);
        let found = world.raw.inspect_network(&id, None::<InspectNetworkOptions>).await.unwrap();
        let labels = found.labels.unwrap();
        assert_eq!(labels["com.docker.compose.project"], world.labels.project.to_string());
        assert_eq!(labels["com.docker.compose.network"], "default");
        let seen = world.backend.list(&world.labels.installation).await.unwrap();
        assert_eq!(seen.networks[0].subnet.as_deref(), Some(world.network.subnet.as_str()));
        assert_eq!(seen.networks[0].labels.as_ref(), Some(&world.labels));
        world.backend.remove_network(&id).await.unwrap();
        world.backend.remove_network(&id).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn of_two_networks_of_ours_the_oldest_that_fits_stays() {
    with_world(|world| async move {
        let id = world.backend.ensure_network(&world.network_spec()).await.unwrap();
        let labels: HashMap<String, String> = world.labels.to_map().into_iter().collect();
        let request = by_hand(&world.network, labels, &another_subnet(&world));
        match world.raw.create_network(request).await {
            Ok(_) => {
                assert_eq!(world.backend.list(&world.labels.installation).await.unwrap().networks.len(), 2);
                assert_eq!(world.backend.ensure_network(&world.network_spec()).await.unwrap(), id);
            }
            // Newer engines lock the name, so there is nothing to clean up.
            Err(error) => assert!(error.to_string().contains("already exists"), "{error}"),
        }
        let seen = world.backend.list(&world.labels.installation).await.unwrap();
        assert_eq!(seen.networks.iter().map(|n| n.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_subnet_that_overlaps_is_named() {
    with_world(|world| async move {
        // The very same subnet, a part of it, and one that covers it: engines say each of them differently.
        let address = world.network.subnet.trim_end_matches("/27");
        for subnet in [format!("{address}/27"), format!("{address}/29"), format!("{address}/26")] {
            let mut other = world.network.clone();
            other.name = format!("decoy-{}", world.labels.project);
            let Ok(decoy) = world.raw.create_network(by_hand(&other, HashMap::new(), &subnet)).await else {
                // The wider one may be a neighbour test's.
                continue;
            };
            let error = world.backend.ensure_network(&world.network_spec()).await.unwrap_err();
            world.raw.remove_network(&decoy.id).await.unwrap();
            assert!(
                matches!(&error, BackendError::SubnetTaken { subnet, .. } if *subnet == world.network.subnet),
                "{subnet}: {error}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_foreign_network_or_volume_of_that_name_is_told_and_left_alone() {
    with_world(|world| async move {
        let request = by_hand(&world.network, HashMap::new(), &another_subnet(&world));
        let network = world.raw.create_network(request).await.unwrap().id;
        let error = world.backend.ensure_network(&world.network_spec()).await.unwrap_err();
        let refused = world.backend.remove_network(&network).await;
        world.raw.remove_network(&network).await.expect("the foreign network was touched");
        assert!(matches!(error, BackendError::NameTaken { kind: "network", .. }), "{error}");
        assert!(matches!(refused, Err(BackendError::Rejected { .. })));

        let volume = world.volume();
        std::fs::create_dir(world.folder.join(&volume.folder)).unwrap();
        let request = VolumeCreateRequest { name: Some(volume.name.clone()), ..VolumeCreateRequest::default() };
        world.raw.create_volume(request).await.unwrap();
        let error = world.backend.ensure_volume(&world.volume_spec(&volume)).await.unwrap_err();
        let refused = world.backend.remove_volume(&volume.name).await;
        world.raw.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await.expect("the foreign volume was touched");
        assert!(matches!(error, BackendError::NameTaken { kind: "volume", .. }), "{error}");
        assert!(matches!(refused, Err(BackendError::Rejected { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_volume_is_bound_to_its_folder_and_filled_from_the_image() {
    with_world(|world| async move {
        let volume = world.volume();
        // Its folder comes first.
        let error = world.backend.ensure_volume(&world.volume_spec(&volume)).await.unwrap_err();
        assert!(matches!(error, BackendError::Rejected { .. }), "{error}");
        std::fs::create_dir(world.folder.join(&volume.folder)).unwrap();
        world.backend.ensure_volume(&world.volume_spec(&volume)).await.unwrap();
        world.backend.ensure_volume(&world.volume_spec(&volume)).await.unwrap();
        let labels = world.raw.inspect_volume(&volume.name).await.unwrap().labels;
        assert_eq!(labels["com.docker.compose.project"], world.labels.project.to_string());
        assert_eq!(labels["com.docker.compose.volume"], "config");

        let mut service = world.service("db", "cat /etc/from-image; sleep 600");
        let mount =
            |key: &str| Mount { source: MountSource::Volume(key.into()), target: "/etc".into(), mode: BindMode::ReadWrite };
        service.mounts = vec![mount("config")];
        let id = world.running(&service).await;
        world.written(&id, "filled from the image").await;
        assert!(world.folder.join("volumes/config/from-image").exists());

        // Bound to another folder by now: told, not replaced.
        let mut moved = volume.clone();
        moved.folder = "volumes/data".into();
        assert!(matches!(world.backend.ensure_volume(&world.volume_spec(&moved)).await, Err(BackendError::Rejected { .. })));
        // In use.
        assert!(matches!(world.backend.remove_volume(&volume.name).await, Err(BackendError::Busy { .. })));
        world.remove_all().await;
        // Its files are the folder's, not the volume's.
        assert!(world.folder.join("volumes/config/from-image").exists());
        // Without the volume the engine would make one up.
        world.backend.ensure_network(&world.network_spec()).await.unwrap();
        for key in ["config", "other"] {
            service.mounts = vec![mount(key)];
            let error = world.backend.ensure_container(&world.spec(&service, "h1")).await.unwrap_err();
            assert!(matches!(error, BackendError::Rejected { .. }), "{key}: {error}");
        }
        world.remove_all().await;
    })
    .await;
}
