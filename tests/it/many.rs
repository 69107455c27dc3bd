//! Many projects at once on one real engine: more than Docker's own pools have networks for, nothing held twice, and how
//! soon it is seen when fifty containers are killed and fifty hang.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{Api, Daemon, Engine, Options};

const PROJECTS: usize = 40;
const HIT: usize = 50;
/// The default of `limits.unhealthy_after`, and the interval chosen here.
const LOOKS: u64 = 3;
const INTERVAL_S: u64 = 6;

/// A container: project and service.
type Place = (String, &'static str);

fn name((id, service): &Place) -> String {
    format!("supamanager-{id}-{service}")
}

#[tokio::test]
async fn forty_projects_pass_the_wall_of_thirty_networks_and_fifty_deaths_and_fifty_freezes_are_seen_and_healed() {
    let first = 24_000;
    let options = Options::tiny()
        .set("SUPAMANAGER_PORTS_API", format!("{first}-{}", first + 99))
        .set("SUPAMANAGER_SUBNETS_POOL", "10.213.128.0/19")
        .set("SUPAMANAGER_LIMITS_PROBE_INTERVAL_S", INTERVAL_S.to_string())
        .set("SUPAMANAGER_LIMITS_REPAIRS_PER_HOUR", "20")
        .set("SUPAMANAGER_LIMITS_HEAL_AFTER_S", (2 * INTERVAL_S).to_string());
    let daemon = Daemon::ready("many", options).await;
    let begun = Instant::now();
    let creates = (0..PROJECTS).map(|number| daemon.api.healthy(json!({ "name": format!("one of many {number}") })));
    let projects = join_all(creates).await;
    println!("\n{PROJECTS} projects at once: all ACTIVE_HEALTHY after {:.1} s", begun.elapsed().as_secs_f64());
    let ids: Vec<String> = projects.iter().map(|project| project["id"].as_str().expect("an id").to_owned()).collect();
    nothing_is_held_twice(&ids, &projects);

    // Of forty projects every front and ten backs; each project is hit once at a time.
    let fronts = ids.iter().map(|id| (id.clone(), "front"));
    let mut places: Vec<Place> = fronts.chain(ids.iter().take(HIT - PROJECTS).map(|id| (id.clone(), "back"))).collect();
    let mut seen = Vec::new();
    for group in places.chunks(PROJECTS / 2) {
        for place in group {
            seen.push(visible(&daemon.api, place, "KILL").await);
        }
        all_healthy(&daemon.api, &ids).await;
    }
    print_times("killed", &mut seen, "aim: p95 <= 1 s");
    assert!(quantile(&seen, 95) < Duration::from_secs(10), "ten times the aim");

    // The other way round, so that what was restarted last is not hit first.
    places.reverse();
    let mut seen = Vec::new();
    let begun = Instant::now();
    for group in places.chunks(PROJECTS / 2) {
        seen.extend(join_all(group.iter().map(|place| visible(&daemon.api, place, "STOP"))).await);
        all_healthy(&daemon.api, &ids).await;
    }
    let aim = Duration::from_secs(INTERVAL_S * LOOKS + 1);
    print_times("frozen", &mut seen, &format!("aim: all <= {} s, the interval {INTERVAL_S} s x {LOOKS} + 1 s", aim.as_secs()));
    println!("{HIT} frozen ones seen and all healed after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(seen.last().is_some_and(|slowest| *slowest < 10 * aim), "ten times the aim");
    join_all(ids.iter().map(|id| daemon.api.gone(id))).await;
    daemon.finish();
}

fn nothing_is_held_twice(ids: &[String], projects: &[Value]) {
    let endpoints: BTreeSet<String> = projects.iter().map(|project| project["endpoint"].to_string()).collect();
    let networks: Vec<Value> = ids.iter().map(|id| Engine.inspect(&format!("supamanager-{id}"))).collect();
    let subnets: BTreeSet<String> = networks.iter().map(|network| network["IPAM"]["Config"][0]["Subnet"].to_string()).collect();
    let names: BTreeSet<&String> = ids.iter().collect();
    println!("ports {}, subnets {}, names {}: each once", endpoints.len(), subnets.len(), names.len());
    assert_eq!((endpoints.len(), subnets.len(), names.len()), (PROJECTS, PROJECTS, PROJECTS));
}

/// Sends the signal and waits until the API says that the service is not healthy.
async fn visible(api: &Api, place: &Place, signal: &'static str) -> Duration {
    let container = name(place);
    let sent = tokio::task::spawn_blocking(move || {
        Engine.docker(&["kill", "--signal", signal, &container]);
        Instant::now()
    });
    let begun = sent.await.expect("docker kill");
    loop {
        let project = api.project(&place.0).await;
        if project["services"][place.1] != "healthy" {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "{place:?} still counts as healthy: {project:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A death is told of the service first and of its project a moment later: who goes by the project alone hits the next
/// container in the midst of the repair, which then waits for it as for any that starts slowly.
async fn all_healthy(api: &Api, ids: &[String]) {
    let limit = Duration::from_secs(240);
    let healthy = ids.iter().map(async |id| {
        let begun = Instant::now();
        loop {
            let project = api.settled(id, &["ACTIVE_HEALTHY"], limit).await;
            if project["services"].as_object().expect("services").values().all(|state| state == "healthy") {
                return;
            }
            assert!(begun.elapsed() < limit, "not healthy as a whole: {project:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    join_all(healthy).await;
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

fn print_times(what: &str, seen: &mut [Duration], aim: &str) {
    seen.sort();
    let of = |percent| quantile(seen, percent).as_secs_f64();
    println!("{what} {}: seen after p50 {:.3} s, p95 {:.3} s, max {:.3} s ({aim})", seen.len(), of(50), of(95), of(100));
}
