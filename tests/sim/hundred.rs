//! A hundred clients at once, each with a project of its own: nothing is given to two of them. The engine's own pools
//! of addresses end at thirty networks; a /27 for each project does not.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use supamanager::domain::ProjectStatus;
use supamanager_tests::fake::{Network, State};

use crate::invariants::all_deleted;
use crate::stand::{Ended, Stand, installation};

const PROJECTS: usize = 100;

#[test]
fn a_hundred_creates_at_once_share_nothing() {
    // Next to the ranges of the other tests.
    let mut stand = Stand::with(1, |config| {
        config.ports.api = "24000-24149".to_owned();
        config.ports.db = "24150-24299".to_owned();
    });
    let mut witness = stand.witness();
    let (engine, data, now) = (stand.engine.clone(), stand.data.clone(), stand.clock());
    let ended = stand.live(async |life| {
        life.ready().await;
        let begun = now();
        let names: Vec<String> = (0..PROJECTS).map(|number| format!("one of a hundred {number}")).collect();
        let created = join_all(names.iter().map(|name| life.create(name))).await;
        let mut refs = BTreeSet::new();
        for created in created {
            let created = created.expect("a create");
            refs.insert(created.project);
            witness.promised.push(created.operation.expect("new"));
        }
        let accepted_s = (now() - begun) / 1000;
        for operation in &witness.promised {
            life.ended(operation).await;
        }
        let healthy_s = (now() - begun) / 1000;
        witness.remember(&data, &life).await;
        let projects = life.projects().await;
        let healthy = projects.iter().filter(|project| project.status == ProjectStatus::ActiveHealthy).count();
        let ports: Vec<u16> = projects.iter().flat_map(|project| project.ports.iter().map(|(_, port)| *port)).collect();
        let subnets: Vec<String> = projects.iter().map(|project| project.subnet.clone()).collect();
        let (published, networks, containers) = {
            let world = engine.look();
            let ours = |network: &&Network| network.labels.as_ref().is_some_and(|labels| labels.installation == installation());
            let running = world.containers.values().filter(|c| c.is_of(&installation()) && matches!(c.state, State::Running { .. }));
            let containers: Vec<String> = running.clone().map(|container| container.name.clone()).collect();
            let published: Vec<u16> = running.flat_map(|container| container.ports.clone()).collect();
            (published, world.networks.values().filter(ours).map(|network| network.name.clone()).collect::<Vec<_>>(), containers)
        };
        println!(
            "\na hundred creates at once: {} projects, {healthy} healthy, duplicates: ports {}, subnets {}, names of containers {}, \
             names of networks {}; {} networks on one engine; virtual seconds: all accepted {accepted_s}, all healthy {healthy_s}",
            refs.len(),
            twice(&ports),
            twice(&subnets),
            twice(&containers),
            twice(&networks),
            networks.len()
        );
        assert_eq!((refs.len(), projects.len(), healthy), (PROJECTS, PROJECTS, PROJECTS));
        assert_eq!((twice(&ports), twice(&published), ports.len(), published.len()), (0, 0, 2 * PROJECTS, 2 * PROJECTS));
        assert_eq!((twice(&subnets), subnets.len()), (0, PROJECTS));
        assert_eq!((twice(&networks), networks.len()), (0, PROJECTS));
        assert_eq!((twice(&containers), containers.len()), (0, 3 * PROJECTS));
        life.quiet(Duration::from_secs(3600)).await;
        let mut wrong = witness.look(&engine, &data, &life).await;
        wrong.extend(all_deleted(&engine, &data, &life, &mut witness).await);
        wrong
    });
    let Ended::Done(wrong) = ended else { panic!("crashed without a reason") };
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn twice<T: Ord>(all: &[T]) -> usize {
    all.len() - all.iter().collect::<BTreeSet<_>>().len()
}
