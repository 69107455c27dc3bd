//! Where a case begins: an installation with nothing in it, with a healthy project, or with a paused one. Each is
//! brought about once; every case gets a copy of its folder, its engine and its time. On PostgreSQL, whose
//! databases lie elsewhere, it is brought about anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use supamanager::domain::{ProjectRef, ProjectStatus};
use supamanager_tests::databases::TestDatabase;
use supamanager_tests::fake::World;

use crate::stand::{Ended, Stand};

/// What the project is called, and its create's key.
pub const NAME: &str = "prepared";

/// What is there before anything is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    Empty,
    Active,
    Paused,
}

/// What was brought about already, for one thread.
#[derive(Default)]
pub struct Prepared(BTreeMap<Start, Kept>);

struct Kept {
    /// Never lived in again: where its folder was, copies of it live.
    stand: Stand,
    folder: PathBuf,
    world: World,
    project: Option<ProjectRef>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Prepared {
    /// An installation of its own that begins there, and its project, which was made as [`NAME`].
    pub fn stand_at(&mut self, start: Start) -> (Stand, Option<ProjectRef>) {
        if TestDatabase::on_postgres() {
            return prepare(start);
        }
        let kept = self.0.entry(start).or_insert_with(|| {
            let (stand, project) = prepare(start);
            let folder = stand.data.with_extension("kept");
            copy(&stand.data, &folder);
            let world = stand.engine.look().copy(1);
            Kept { stand, folder, world, project }
        });
        let data = &kept.stand.data;
        // The paths of its data are in its files: a copy lives where the first one did.
        let _ = std::fs::remove_dir_all(data);
        copy(&kept.folder, data);
        (kept.stand.again(kept.world.copy(1)), kept.project.clone())
    }
}

fn prepare(start: Start) -> (Stand, Option<ProjectRef>) {
    let mut stand = Stand::new(1);
    let _decoys = stand.witness();
    let ended = stand.live(async |life| {
        life.ready().await;
        if start == Start::Empty {
            return None;
        }
        let created = life.create(NAME).await.expect("a create");
        life.ended(created.operation.as_ref().expect("new")).await;
        let project = life.project(&created.project).await;
        assert_eq!(project.status, ProjectStatus::ActiveHealthy, "{:?}", project.last_error);
        if start == Start::Paused {
            let paused = life.lifecycle.pause(&project, "test").await.expect("a pause");
            life.ended(&paused).await;
        }
        Some(created.project)
    });
    let Ended::Done(project) = ended else { panic!("crashed without a reason") };
    (stand, project)
}

/// Modes come with the files: the daemon looks at those of its secrets.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(path, target).unwrap();
        }
    }
}
