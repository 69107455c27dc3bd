//! Limits as the kernel has them: on one container, and on the group that holds a project together. A process that was
//! not restarted keeps its process id.

use bollard::models::SystemInfoCgroupDriverEnum;
use bollard::query_parameters::InspectContainerOptions;
use supamanager::backend::{Backend, BackendError, Bounds};
use supamanager::domain::{Bytes, Cpu, Limits};

use crate::world::{World, with_world};

const MIB: u64 = 1 << 20;

fn limits(millis: u64, mib: u64) -> Limits {
    Limits { cpu: Some(Cpu::millis(millis)), memory: Some(Bytes::new(mib * MIB)) }
}

async fn pid(world: &World, id: &str) -> i64 {
    let found = world.raw.inspect_container(id, None::<InspectContainerOptions>).await.unwrap();
    found.state.unwrap().pid.unwrap()
}

/// A container with these limits, or in this group, running.
async fn running(world: &World, limits: Limits, parent: Option<String>) -> String {
    let service = world.service("db", "sleep 600");
    world.backend.ensure_network(&world.network_spec()).await.unwrap();
    let mut spec = world.spec(&service, "h1");
    spec.limits = limits;
    spec.parent = parent;
    let id = world.backend.ensure_container(&spec).await.unwrap();
    world.backend.start_container(&id).await.unwrap();
    // Limits are no part of what a container is: another value makes no other container.
    spec.limits = self::limits(900, 90);
    assert_eq!(world.backend.ensure_container(&spec).await.unwrap(), id);
    id
}

#[tokio::test]
async fn a_containers_limits_are_in_the_kernel_and_change_while_it_runs() {
    with_world(|world| async move {
        let id = running(&world, limits(500, 64), None).await;
        let before = pid(&world, &id).await;
        let held = world.backend.held(&id).await.unwrap().unwrap();
        let bounds = |limits| Bounds { limits, pids: Some(32) };
        assert_eq!((held.parent, held.asked, held.kernel), (None, bounds(limits(500, 64)), Some(bounds(limits(500, 64)))));
        for wanted in [limits(750, 128), limits(250, 32)] {
            world.backend.set_limits(&id, &wanted).await.unwrap();
            let held = world.backend.held(&id).await.unwrap().unwrap();
            assert_eq!((held.asked, held.kernel), (bounds(wanted), Some(bounds(wanted))));
        }
        world.backend.set_limits(&id, &Limits::default()).await.unwrap();
        let host = world.backend.info().await.unwrap();
        let lifted = world.backend.held(&id).await.unwrap().unwrap().kernel.unwrap().limits;
        assert_eq!(lifted.cpu, Some(Cpu::millis(u64::try_from(host.cpus).unwrap() * 1000)));
        assert!(lifted.memory.is_none_or(|memory| memory.get() + 4096 > u64::try_from(host.memory_bytes).unwrap()));
        assert_eq!(pid(&world, &id).await, before, "nothing was restarted");
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn memory_that_is_in_use_is_not_taken_away() {
    with_world(|world| async move {
        let service = world.service("db", "x=$(seq 1 3000000); echo full; sleep 600; echo $x");
        let id = world.running(&service).await;
        world.written(&id, "full").await;
        let before = pid(&world, &id).await;
        let error = world.backend.set_limits(&id, &limits(500, 8)).await.unwrap_err();
        assert!(matches!(&error, BackendError::Rejected { reason, .. } if reason.contains("are in use")), "{error}");
        world.backend.set_limits(&id, &limits(500, 512)).await.unwrap();
        assert_eq!(pid(&world, &id).await, before, "nothing was killed");
        world.remove_all().await;
    })
    .await;
}

#[tokio::test]
async fn a_group_holds_a_project_together_and_goes_when_it_is_asked_to() {
    with_world(|world| async move {
        let project = &world.labels.project;
        let wanted = Bounds { limits: limits(1500, 256), pids: Some(100) };
        let parent = world.backend.ensure_group(project, &wanted).await.unwrap();
        let info = world.raw.info().await.unwrap();
        if info.cgroup_driver != Some(SystemInfoCgroupDriverEnum::CGROUPFS) {
            assert_eq!(parent, None, "systemd's driver would write its own limits over ours");
            return;
        }
        let parent = parent.expect("root on the engine's host may make a group");
        let id = running(&world, Limits::default(), Some(parent.clone())).await;
        let before = pid(&world, &id).await;
        let held = world.backend.held(&id).await.unwrap().unwrap();
        assert_eq!((held.parent, held.group), (Some(parent), Some(wanted)));
        assert_eq!(held.kernel.unwrap().limits, Limits::default(), "the container itself is free inside");
        for limits in [limits(500, 512), limits(250, 64), Limits::default()] {
            let wanted = Bounds { limits, pids: Some(100) };
            world.backend.ensure_group(project, &wanted).await.unwrap();
            assert_eq!(world.backend.held(&id).await.unwrap().unwrap().group, Some(wanted));
        }
        assert_eq!(pid(&world, &id).await, before, "nothing was restarted");
        assert!(matches!(world.backend.remove_group(project).await, Err(BackendError::Busy { .. })), "it is not empty");
        world.remove_all().await;
        assert!(world.backend.groups().await.unwrap().contains(project), "the engine leaves it behind");
        world.backend.remove_group(project).await.unwrap();
        world.backend.remove_group(project).await.unwrap();
        assert!(!world.backend.groups().await.unwrap().contains(project));
    })
    .await;
}
