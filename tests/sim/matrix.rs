//! Every step x every position x every trouble x every operation, made from the tables that the runner works from: a
//! new step is in it without anybody adding it, and a place that is never passed fails.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use supamanager::domain::{OperationKind, OperationState, POINT_OF_NO_RETURN, Project, ProjectRef, ProjectStatus};
use supamanager::lifecycle::{Position, UpdateRequest, plan};

use supamanager_tests::fake::{FakeEngine, MIGRATIONS};

use crate::cores;
use crate::invariants::{Witness, all_deleted};
use crate::listener::Trouble;
use crate::prepared::{NAME, Prepared, Start};
use crate::stand::{Ended, Life, Stand, installation, templates};

/// Nothing may take longer than this to become quiet once the trouble is over.
const CONVERGES: Duration = Duration::from_secs(3600);

/// What is done to a project, and where the trouble comes.
#[derive(Debug, Clone)]
struct Case {
    kind: OperationKind,
    /// On the way back: the operation is made to fail at its last step first.
    undo: bool,
    place: String,
    trouble: Trouble,
}

/// Operation and trouble -> how often, and where the projects ended.
type Table = BTreeMap<(String, String), (u32, BTreeMap<String, u32>)>;

fn cases() -> Vec<Case> {
    let waves: Vec<usize> = (0..templates().set("sim").unwrap().spec.waves().unwrap().len()).collect();
    let mut cases = Vec::new();
    let only = std::env::var("SUPAMANAGER_TEST_OPERATION").ok();
    for kind in OperationKind::ALL.iter().filter(|kind| only.as_ref().is_none_or(|only| only == kind.as_str())) {
        let word = kind.as_str();
        let mut places = Vec::new();
        for step in plan(*kind, &waves) {
            let name = step.name;
            places.extend(Position::ALL.map(|position| (false, format!("{word}.{name}.{}", position.as_str()))));
            if step.undo.is_some() {
                places.extend(Position::ALL.map(|position| (true, format!("{word}.undo.{name}.{}", position.as_str()))));
            }
        }
        for position in [Position::BeforeIntent, Position::AfterRecord] {
            places.push((false, format!("{word}.end.{}", position.as_str())));
        }
        for (undo, place) in places {
            cases.extend(Trouble::ALL.map(|trouble| Case { kind: *kind, undo, place: place.clone(), trouble }));
        }
    }
    cases
}

#[test]
fn every_step_position_trouble_and_operation_ends_as_promised() {
    let cases = cases();
    let total = cases.len();
    assert!(total > 0, "no operation has that name");
    let queue = Mutex::new(cases);
    let table: Mutex<Table> = Mutex::default();
    let failures = Mutex::new(Vec::new());
    cores::on_each(|| {
        let mut prepared = Prepared::default();
        loop {
            let Some(case) = queue.lock().unwrap().pop() else { return };
            let outcome =
                catch_unwind(AssertUnwindSafe(|| run(&case, &mut prepared))).unwrap_or_else(|panic| Err(vec![said(&*panic)]));
            let way = if case.undo { "undo" } else { "forward" };
            let key = (format!("{} {way}", case.kind.as_str()), format!("{:?}", case.trouble));
            match outcome {
                Ok(status) => {
                    let mut table = table.lock().unwrap();
                    let row = table.entry(key).or_default();
                    row.0 += 1;
                    *row.1.entry(status).or_default() += 1;
                }
                Err(wrong) => failures.lock().unwrap().push(format!("{case:?}:\n  {}", wrong.join("\n  "))),
            }
        }
    });
    println!("\nthe matrix: {total} cases\n{:<18} {:<16} {:>6}  ended", "operation", "trouble", "cases");
    for ((operation, trouble), (count, ended)) in table.into_inner().unwrap() {
        let ended: Vec<String> = ended.into_iter().map(|(status, count)| format!("{status} {count}")).collect();
        println!("{operation:<18} {trouble:<16} {count:>6}  {}", ended.join(", "));
    }
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {total} cases:\n{}", failures.len(), failures.join("\n"));
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a word"))
}

/// Where the project ended, or what is wrong.
fn run(case: &Case, prepared: &mut Prepared) -> Result<String, Vec<String>> {
    let (mut stand, mut project) = prepared.stand_at(match case.kind {
        OperationKind::Create => Start::Empty,
        OperationKind::Resume => Start::Paused,
        _ => Start::Active,
    });
    let mut witness = stand.witness();
    witness.keys.extend(project.iter().map(|project| (NAME.to_owned(), Some(project.clone()))));
    if case.undo {
        // The last step fails for good: everything before it is undone, and it itself.
        let waves: Vec<usize> = (0..3).collect();
        let mut steps = plan(case.kind, &waves).into_iter().rev();
        // Past the point of no return an update does not go back.
        let last = steps.find(|step| step.name != POINT_OF_NO_RETURN).expect("steps").name;
        stand.script.plan(&format!("{}.{last}.after_intent", case.kind.as_str()), Trouble::StepFails, &stand.engine);
    }
    stand.script.plan(&case.place, case.trouble, &stand.engine);
    let mut lives = 0;
    let (status, mut wrong) = loop {
        lives += 1;
        let (engine, data, first) = (stand.engine.clone(), stand.data.clone(), lives == 1);
        let (witness, project) = (&mut witness, &mut project);
        let ended = stand.live(async |life| {
            life.ready().await;
            if first {
                witness.remember(&data, &life).await;
                begin(case, &life, (&engine, &data), witness, project).await;
            } else {
                witness.ask_again(&life).await;
            }
            life.quiet(CONVERGES).await;
            witness.remember(&data, &life).await;
            let mut wrong = witness.look(&engine, &data, &life).await;
            let id = project.as_ref().expect("a project");
            let there = life.project(id).await;
            wrong.extend(not_as_promised(case, &life, &there).await);
            if case.kind == OperationKind::Update {
                wrong.extend(update_left(&engine, &data, &there));
            }
            if engine.look().manners.waiting() > 0 {
                // The operation had nothing more to ask of the engine: the next one meets it.
                wrong.extend(another_meets_it(&life, &engine, witness).await);
            }
            wrong.extend(all_deleted(&engine, &data, &life, witness).await);
            (there.status, wrong)
        });
        match ended {
            Ended::Crashed => continue,
            Ended::Done(done) => break done,
        }
    };
    wrong.extend(not_met(case, &stand, lives));
    if wrong.is_empty() { Ok(status.as_str().to_owned()) } else { Err(wrong) }
}

/// A case whose trouble never came shows nothing.
fn not_met(case: &Case, stand: &Stand, lives: u32) -> Vec<String> {
    let mut wrong: Vec<String> = stand.script.left().iter().map(|place| format!("{place} was never passed")).collect();
    let hits = stand.script.hit.lock().unwrap().iter().filter(|place| **place == case.place).count();
    if hits != 1 {
        wrong.push(format!("{} was hit {hits} times", case.place));
    }
    let lives_due = if case.trouble == Trouble::Die { 2 } else { 1 };
    if lives != lives_due {
        wrong.push(format!("{lives} lives, and {lives_due} were due"));
    }
    let calls_due = match case.trouble {
        Trouble::Error | Trouble::ErrorAfterDoing | Trouble::TimeOut => 1,
        Trouble::Slow => 3,
        Trouble::Die | Trouble::EngineRestart | Trouble::StepFails | Trouble::StepStumbles => 0,
    };
    let world = stand.engine.look();
    if world.manners.met != calls_due || world.manners.waiting() > 0 {
        wrong.push(format!("{} calls met the trouble, and {calls_due} should have", world.manners.met));
    }
    let restarts_due = u32::from(case.trouble == Trouble::EngineRestart);
    if world.went_away != restarts_due {
        wrong.push(format!("the engine went away {} times, and {restarts_due} were due", world.went_away));
    }
    wrong
}

/// The operation's own end: what is put right afterwards by another one is not what was promised.
async fn not_as_promised(case: &Case, life: &Life, project: &Project) -> Vec<String> {
    let operations = life.parts.store.operations_of(&project.id, 100).await.unwrap();
    let first = operations.iter().filter(|operation| operation.kind == case.kind).min_by_key(|operation| operation.created_at);
    let Some(operation) = first else { return vec![format!("there is no {}", case.kind.as_str())] };
    let mut wrong = Vec::new();
    let back = case.undo || goes_back(case);
    let promised = if back { OperationState::Failed } else { OperationState::Succeeded };
    if operation.state != promised {
        let (state, error) = (operation.state.as_str(), operation.error.as_deref().unwrap_or("no error"));
        wrong.push(format!("the operation ended {state}, should be {}: {error}", promised.as_str()));
    }
    if back && !operation.error.as_ref().is_some_and(|error| error.contains("injected at")) {
        wrong.push(format!("the operation failed for another reason than ours: {:?}", operation.error));
    }
    if !allowed(case).contains(&project.status) {
        wrong.push(format!("ended {}, which this trouble does not excuse", project.status.as_str()));
    }
    wrong
}

async fn another_meets_it(life: &Life, engine: &FakeEngine, witness: &mut Witness) -> Vec<String> {
    let created = witness.create(life, "another").await.expect("a create");
    life.ended(created.operation.as_ref().expect("new")).await;
    let another = life.project(&created.project).await;
    let waiting = engine.look().manners.waiting();
    let mut wrong = Vec::new();
    if another.status != ProjectStatus::ActiveHealthy {
        wrong.push(format!("another project is {}: {:?}", another.status.as_str(), another.last_error));
    }
    if waiting > 0 {
        wrong.push(format!("{waiting} calls are still to meet the trouble"));
    }
    wrong
}

/// An update is done, or it was never there: containers, files and data are all of one stack.
fn update_left(engine: &FakeEngine, data: &Path, project: &Project) -> Vec<String> {
    let folder = data.join("projects").join(project.id.as_str());
    let updated = project.image_set == "sim-next";
    let mut wrong = Vec::new();
    let log = std::fs::read_to_string(folder.join("volumes/db").join(MIGRATIONS)).unwrap_or_default();
    let expected = if updated { "sha256:sim/db:1\nsha256:sim/db:2\n" } else { "sha256:sim/db:1\n" };
    if log != expected {
        wrong.push(format!("I7: the data of a project with image set {} was run by {log:?}", project.image_set));
    }
    let compose = std::fs::read_to_string(folder.join("docker-compose.yml")).unwrap_or_default();
    if compose.contains("sim/db:2") != updated {
        wrong.push("the files are of another stack than the store says".to_owned());
    }
    let world = engine.look();
    let db = world.containers.values().find(|container| container.is_of(&installation()) && container.name.ends_with("-db"));
    if db.is_none_or(|db| (db.digest == "sha256:sim/db:2") != updated) {
        wrong.push("the container is of another stack than the store says".to_owned());
    }
    wrong
}

async fn begin(
    case: &Case,
    life: &Life,
    (engine, data): (&FakeEngine, &std::path::Path),
    witness: &mut Witness,
    project: &mut Option<ProjectRef>,
) {
    if case.kind == OperationKind::Create {
        let created = witness.create(life, "a case").await.expect("a create");
        *project = Some(created.project);
        witness.remember(data, life).await;
        return;
    }
    let id = project.clone().expect("prepared");
    let there = life.project(&id).await;
    let accepted = match case.kind {
        OperationKind::Create => unreachable!("above"),
        OperationKind::Pause => life.lifecycle.pause(&there, "test").await,
        OperationKind::Resume => life.lifecycle.resume(&there, "test").await,
        OperationKind::Restart => life.lifecycle.restart(&there, &[], "test").await,
        OperationKind::Apply => life.lifecycle.apply(&there, "post-create-sql", "test").await,
        OperationKind::Update => {
            let request = UpdateRequest { image_set: Some("sim-next".to_owned()), ..UpdateRequest::default() };
            let plan = life.lifecycle.plan_update(&there, &request).await.expect("a plan");
            let accepted = life.lifecycle.update(&there, &request, Some(&plan.hash), "test").await;
            accepted.map(|operation| operation.expect("containers change"))
        }
        OperationKind::Repair => {
            // Nobody asks for a repair: a container that was removed behind the daemon's back does.
            engine
                .look()
                .containers
                .retain(|_, container| !(container.is_of(&installation()) && container.name.ends_with("-api")));
            engine.tell();
            return;
        }
        OperationKind::Delete => {
            witness.deletes.insert(id);
            life.lifecycle.delete(&there, "test").await
        }
    };
    witness.promised.push(accepted.expect("accepted"));
}

/// Only a step that fails for good sends the operation back, and it always does; a delete and the end of an update
/// only go on.
fn goes_back(case: &Case) -> bool {
    let inside = case.place.ends_with(".after_intent") || case.place.ends_with(".after_effect");
    let has_way_back = case.kind.has_way_back() && !case.place.contains(&format!(".{POINT_OF_NO_RETURN}."));
    case.trouble == Trouble::StepFails && inside && has_way_back
}

fn allowed(case: &Case) -> &'static [ProjectStatus] {
    use ProjectStatus::{ActiveHealthy, Deleted, Failed, Paused};
    let excused = goes_back(case);
    match (case.kind, case.undo) {
        (OperationKind::Delete, _) => &[Deleted],
        (OperationKind::Create, true) => &[Failed],
        (OperationKind::Create, false) if excused => &[Failed],
        (OperationKind::Pause, true) => &[ActiveHealthy],
        (OperationKind::Pause, false) if excused => &[ActiveHealthy],
        (OperationKind::Pause, false) => &[Paused],
        (OperationKind::Resume, true) => &[Paused],
        (OperationKind::Resume, false) if excused => &[Paused],
        // What a restart or a repair leaves undone, the reconciler puts right.
        _ => &[ActiveHealthy],
    }
}
