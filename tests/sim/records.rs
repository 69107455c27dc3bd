//! What the rows say: no secret in any of them (I8), and no operation beyond its deadline (I10).

use std::collections::BTreeMap;
use std::path::Path;

use supamanager::domain::{Operation, OperationKind, OperationState, POINT_OF_NO_RETURN, Project, ProjectRef};
use supamanager_tests::fake::World;

use crate::stand::Life;

/// What ends, ends within this of its deadline: the last step's own errors and records still take a moment.
const LATE_MS: i64 = 60_000;

/// Everything that anybody can read without a key: rows, labels, the stack's file.
pub async fn look(
    life: &Life,
    data: &Path,
    labels: &[String],
    projects: &[Project],
    secrets: &BTreeMap<ProjectRef, Vec<(String, String)>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut texts: Vec<(String, String)> = labels.iter().map(|label| ("a label".to_owned(), label.clone())).collect();
    for project in projects {
        let id = &project.id;
        let mut told = |place: &str, text: &str| texts.push((format!("{place} of {id}"), text.to_owned()));
        if let Some(error) = &project.last_error {
            told("the last error", &format!("{} {} {}", error.code, error.message, error.log_tail.join("\n")));
        }
        for operation in life.parts.store.operations_of(id, 1_000).await.unwrap() {
            in_time(&operation, &mut wrong);
            for text in operation.error.iter().chain(&operation.cancelled) {
                told("an operation's error", text);
            }
            for step in &operation.steps {
                told(&format!("step {}", step.name), step.detail.as_deref().unwrap_or_default());
            }
        }
        for event in life.parts.store.events_after(id, 0).await.unwrap() {
            told("an event", &event.data);
        }
        for seen in life.parts.store.observations(id).await.unwrap() {
            told("an observation", &seen.reason);
        }
        let compose = data.join("projects").join(id.as_str()).join("docker-compose.yml");
        told("docker-compose.yml", &std::fs::read_to_string(compose).unwrap_or_default());
    }
    for (owner, secrets) in secrets {
        for (name, value) in secrets {
            let found = texts.iter().filter(|(_, text)| text.contains(value.as_str()));
            wrong.extend(found.map(|(place, _)| format!("I8: {name} of {owner} is in {place}")));
        }
    }
    wrong
}

/// Every label of ours on the engine, as text.
pub fn labels(world: &World) -> Vec<String> {
    let containers = world.containers.values().map(|container| &container.labels);
    let networks = world.networks.values().map(|network| &network.labels);
    let volumes = world.volumes.values().map(|volume| &volume.labels);
    let all = containers.chain(networks).chain(volumes).flatten();
    all.map(|labels| labels.to_map().into_values().collect::<Vec<_>>().join("\n")).collect()
}

/// A delete goes on until it is done, and so does the way back.
fn in_time(operation: &Operation, wrong: &mut Vec<String>) {
    if operation.state != OperationState::Succeeded || operation.kind == OperationKind::Delete {
        return;
    }
    // An update that throws the old data away has no way back any more.
    let last = operation.steps.iter().find(|step| step.name == POINT_OF_NO_RETURN).map(|step| step.started_at);
    let late = last.or(operation.ended_at).map_or(0, |at| at - operation.deadline_at);
    if late > LATE_MS {
        let kind = operation.kind.as_str();
        wrong.push(format!("I10: {kind} {} ended {late} ms after its deadline", operation.id));
    }
}
