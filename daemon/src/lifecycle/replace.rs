//! Another port or subnet for a project that was never healthy (decision 3). Afterwards they never change.

use std::time::Duration;

use rand::seq::IteratorRandom;

use super::steps::{Replace, StepContext};
use crate::domain::UnixMillis;
use crate::store::{Again, Clash, StoreError};
use crate::{ports, subnets};

/// The longest pause between two replacements.
const PAUSE_MAX_MS: u64 = 15_000;

/// How long to wait before what was replaced is tried: an eighth of the operation's age, so that the first ones follow
/// each other at once, and an engine that refuses everything is asked some 170 times in half an hour, not 20 000 times.
pub(super) fn pause(since: UnixMillis, now: UnixMillis) -> Duration {
    let age = u64::try_from(now.saturating_sub(since)).unwrap_or_default();
    Duration::from_millis((age / 8).min(PAUSE_MAX_MS))
}

/// Whether something was replaced and the operation rewound to its rendering. Its deadline bounds how often.
pub(super) async fn replace(context: &StepContext, what: &Replace, steps: &[String]) -> Result<bool, StoreError> {
    if context.project.activated_at.is_some() {
        return Ok(false);
    }
    let again = Again { operation: &context.operation.id, steps };
    match what {
        Replace::Port(port) => replace_port(context, *port, &again).await,
        Replace::Subnet => replace_subnet(context, &again).await,
    }
}

async fn replace_port(context: &StepContext, port: u16, again: &Again<'_>) -> Result<bool, StoreError> {
    let (parts, project) = (&context.parts, &context.project);
    let Some((name, _)) = project.ports.iter().find(|(_, held)| *held == port) else {
        // The rendered file still has a port that was replaced before a kill: rendering again is all it needs.
        if port != 0 {
            parts.store.rewind(again, parts.clock.now()).await?;
        }
        return Ok(port != 0);
    };
    let Some(range) = context.set.spec.ports.iter().find(|spec| spec.name == *name).map(|spec| spec.range.clone()) else {
        return Ok(false);
    };
    let Ok(numbers) = parts.config.port_range(&range) else { return Ok(false) };
    let taken = parts.taken(&project.region).await?.ports;
    let avoid = parts.config.avoided_ports();
    let Ok(new) = ports::choose(&range, numbers, avoid.as_ref(), &taken, parts.config.publish_address).await else {
        return Ok(false);
    };
    match parts.store.replace_port(&project.id, name, new, again, parts.clock.now()).await {
        Err(StoreError::Clash(Clash::Port)) => parts.store.rewind(again, parts.clock.now()).await.map(|()| true),
        Err(error) => Err(error),
        Ok(()) => {
            tracing::info!(project.id = %project.id, port, new, "a port was taken by somebody else and replaced");
            parts.announcer.endpoint_changed(&project.id, &format!("port {port} is taken, {name} is now on {new}")).await;
            Ok(true)
        }
    }
}

async fn replace_subnet(context: &StepContext, again: &Again<'_>) -> Result<bool, StoreError> {
    let (parts, project) = (&context.parts, &context.project);
    let taken = parts.taken(&project.region).await?.subnets;
    let pool = subnets::Pool::parse(&parts.config.subnets.pool);
    // Any of the free ones: what holds the first may hold its neighbours, too.
    let free = pool.and_then(|pool| pool.free(&taken, &subnets::host_routes()).choose(&mut rand::rng()));
    let Some(new) = free else { return Ok(false) };
    match parts.store.replace_subnet(&project.id, &new, again, parts.clock.now()).await {
        Err(StoreError::Clash(Clash::Subnet)) => parts.store.rewind(again, parts.clock.now()).await.map(|()| true),
        Err(error) => Err(error),
        Ok(()) => {
            tracing::info!(project.id = %project.id, old = project.subnet, new, "a subnet was refused and replaced");
            Ok(true)
        }
    }
}
