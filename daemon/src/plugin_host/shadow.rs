//! A newer version of a probe plugin is tried on live projects before it decides about any. First as a shadow: both versions
//! are asked, the running one decides, and where they differ is counted. Then it is promoted, for some projects or for a share
//! of them: it decides there, the running version is asked beside it, answers in its place when it fails, and takes
//! everything back when it fails or worsens verdicts again and again. A restart ends a trial: the running version decides.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::approvals::Leave;
use super::hooks::{HookError, ProbeInput, ProbeReport, ServiceAccess};
use super::host::PluginHost;
use super::limits::Hook;
use super::load::{self, Bound, LoadError, Plugin};
use super::probing::{Asking, is_its_fault};
use super::versions;
use crate::domain::{ProjectRef, ServiceName, ServiceState};

/// Where versions to be tried lie, in the folder of plugins.
pub const CANDIDATES: &str = ".candidates";

/// Questions that are asked only to compare, at once: beyond that they are left out and counted.
const BESIDE: usize = 4;
/// So many failures in a row, or verdicts on one service that are worse than the running version's, end a promotion.
const STRIKES: u32 = 3;
/// Kinds of differences that are kept.
const DIFFERENCES: usize = 100;

/// Why a trial did not begin, or a promotion was not made.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// No such plugin runs.
    #[error("no plugin `{0}` runs: `supamanager plugin list` names those that do")]
    Unknown(String),
    /// Nothing is on trial.
    #[error("no version of plugin `{0}` is on trial: begin with `supamanager plugin shadow FOLDER`")]
    NoTrial(String),
    /// There are no verdicts to compare.
    #[error("plugin `{0}` has no verdicts to compare, in both versions: only probe plugins are tried so")]
    NoVerdicts(String),
    /// It runs already.
    #[error("plugin `{0}` runs in this version already")]
    Same(String),
    /// It does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Files.
    #[error("the version on trial was not put in the running one's place: {0}: see to the folder of plugins")]
    Write(#[from] std::io::Error),
}

/// For which projects the version on trial decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promoted {
    /// These.
    pub projects: BTreeSet<ProjectRef>,
    /// And so many of a hundred of the others, always the same.
    pub percent: u8,
    /// It may find worse what the running version finds healthy.
    pub may_worsen: bool,
}

impl Promoted {
    fn includes(&self, project: &ProjectRef) -> bool {
        let mut hasher = DefaultHasher::new();
        project.as_str().hash(&mut hasher);
        self.projects.contains(project) || hasher.finish() % 100 < u64::from(self.percent)
    }

    fn is_nobody(&self) -> bool {
        self.projects.is_empty() && self.percent == 0
    }
}

/// Where two versions differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of which service.
    pub service: ServiceName,
    /// What the running version says; `none` when it is not its probe, `error` when it failed.
    pub running: String,
    /// What the one on trial says.
    pub candidate: String,
    /// How often.
    pub count: u64,
    /// The last project.
    pub project: ProjectRef,
    /// What the one on trial gave as its reason there, with whatever it holds of the project.
    pub reason: String,
}

/// How a trial is going.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Questions that both answered.
    pub compared: u64,
    /// Those on which they agree.
    pub same: u64,
    /// Questions that were not compared, because too many were under way.
    pub left_out: u64,
    /// Verdicts of the version on trial that counted.
    pub decided: u64,
    /// Failures of the version on trial by code.
    pub failures: BTreeMap<&'static str, u64>,
    /// Where they differ.
    pub differences: Vec<Difference>,
    /// For whom it decides.
    pub promoted: Promoted,
    /// Why everything was taken back.
    pub taken_back: Option<String>,
    failed_in_a_row: u32,
    worse_in_a_row: BTreeMap<(ProjectRef, ServiceName), u32>,
}

/// A trial as it is shown.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The plugin.
    pub plugin: String,
    /// What runs, by digest.
    pub running: String,
    /// What is tried, by digest.
    pub candidate: String,
    /// Its version.
    pub version: String,
    /// Until verdicts are no longer compared where it does not decide.
    pub left: Duration,
    /// What was seen.
    pub seen: Seen,
}

/// All trials, by plugin.
#[derive(Default)]
pub struct Shadows(RwLock<BTreeMap<String, Arc<Shadow>>>);

impl Shadows {
    /// The one of a plugin.
    pub fn of(&self, plugin: &str) -> Option<Arc<Shadow>> {
        self.0.read().unwrap_or_else(|poison| poison.into_inner()).get(plugin).cloned()
    }

    /// Lets go of those that have nothing to be compared with any more, or no leave.
    pub fn keep_only(&self, is_kept: impl Fn(&Shadow) -> bool) {
        self.0.write().unwrap_or_else(|poison| poison.into_inner()).retain(|name, shadow| {
            let kept = is_kept(shadow);
            if !kept {
                tracing::info!(plugin.id = name, plugin.digest = shadow.plugin.digest, "the trial of a version has ended");
            }
            kept
        });
    }

    fn set(&self, plugin: &str, shadow: Option<Arc<Shadow>>) {
        let mut all = self.0.write().unwrap_or_else(|poison| poison.into_inner());
        match shadow {
            Some(shadow) => drop(all.insert(plugin.to_owned(), shadow)),
            None => drop(all.remove(plugin)),
        }
    }
}

/// A version on trial.
pub struct Shadow {
    /// The version that runs beside it: a trial ends with that.
    running: String,
    /// Its own papers lie here.
    folder: PathBuf,
    plugin: Arc<Plugin>,
    bound: Bound,
    until: Instant,
    seen: Mutex<Seen>,
    slots: Arc<Semaphore>,
}

impl Shadow {
    /// Whether the version it is compared to is the one that runs.
    pub fn is_beside(&self, running: &[Arc<Plugin>]) -> bool {
        let beside = |plugin: &&Arc<Plugin>| plugin.manifest.name == self.plugin.manifest.name;
        running.iter().find(beside).is_some_and(|plugin| plugin.digest == self.running)
    }

    /// Whether somebody still lets it run.
    pub fn has_leave(&self, leave: &Leave) -> bool {
        leave.judge(&self.folder, &self.plugin.text, &self.plugin.manifest).is_ok()
    }

    /// Whether it decides about a project.
    pub fn decides_for(&self, project: &ProjectRef) -> bool {
        self.seen().promoted.includes(project)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// What both said to one question. `decided`: the version on trial was the one that counted.
    fn note(&self, input: &ProbeInput, decided: bool, running: &Verdict, candidate: &Verdict) {
        let mut seen = self.seen();
        let seen = &mut *seen;
        seen.compared += 1;
        let place = (input.project.clone(), input.service.clone());
        let (was, is) = (word(running), word(candidate));
        if was == is {
            seen.same += 1;
            seen.worse_in_a_row.remove(&place);
            return;
        }
        let is_this = |known: &Difference| known.service == input.service && known.running == was && known.candidate == is;
        let reason = reason(candidate);
        match seen.differences.iter().position(is_this) {
            Some(known) => {
                let known = &mut seen.differences[known];
                known.count += 1;
                (known.project, known.reason) = (input.project.clone(), reason);
            }
            None if seen.differences.len() < DIFFERENCES => seen.differences.push(Difference {
                service: input.service.clone(),
                running: was.to_owned(),
                candidate: is.to_owned(),
                count: 1,
                project: input.project.clone(),
                reason,
            }),
            None => {}
        }
        let worse = was == ServiceState::Healthy.as_str();
        if decided && worse && !seen.promoted.may_worsen {
            let strikes = seen.worse_in_a_row.entry(place).or_default();
            *strikes += 1;
            if *strikes >= STRIKES {
                let why =
                    format!("{} of {} is `{was}` for the running version and `{is}` for this one", input.service, input.project);
                self.take_back(seen, why);
            }
        }
    }

    /// Asks the other version, as long as not too many are asked, and notes what both said.
    fn compare(self: &Arc<Self>, other: Asking, input: ProbeInput, counted: Verdict, decided: bool) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            self.seen().left_out += 1;
            return;
        };
        let shadow = self.clone();
        tokio::spawn(async move {
            let beside = other.verdict().await;
            let (running, candidate) = if decided { (beside, counted) } else { (counted, beside) };
            match &candidate {
                Err(error) if !decided => shadow.failed(error),
                _ if !decided => shadow.answered(false),
                _ => {}
            }
            shadow.note(&input, decided, &running, &candidate);
            drop(slot);
        });
    }

    fn failed(&self, error: &HookError) {
        let mut seen = self.seen();
        *seen.failures.entry(error.code()).or_default() += 1;
        // No slot, or a slow service: that says nothing about the version.
        if !is_its_fault(error) {
            return;
        }
        seen.failed_in_a_row += 1;
        if seen.failed_in_a_row >= STRIKES && !seen.promoted.is_nobody() {
            let why = format!("it failed {} times in a row: {error}", seen.failed_in_a_row);
            self.take_back(&mut seen, why);
        }
    }

    fn answered(&self, decided: bool) {
        let mut seen = self.seen();
        seen.failed_in_a_row = 0;
        seen.decided += u64::from(decided);
    }

    fn take_back(&self, seen: &mut Seen, why: String) {
        tracing::warn!(
            plugin.id = self.plugin.manifest.name,
            plugin.digest = self.plugin.digest,
            why,
            "the version on trial decides no more: the running one does, for all projects"
        );
        (seen.promoted, seen.taken_back) = (Promoted::default(), Some(why));
    }
}

type Verdict = Result<Option<ProbeReport>, HookError>;

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Ok(Some(report)) => report.state.as_str(),
        Ok(None) => "none",
        Err(_) => "error",
    }
}

fn reason(verdict: &Verdict) -> String {
    let words = match verdict {
        Ok(report) => report.as_ref().map(|report| report.reason.clone()).unwrap_or_default(),
        Err(error) => error.to_string(),
    };
    words.chars().take(300).collect()
}

impl PluginHost {
    /// Asks both versions. The answer is the one that counts, and whether it is the running version's; the other is asked
    /// beside it, for nobody to wait for.
    pub(super) async fn ask_both(
        &self,
        shadow: &Arc<Shadow>,
        running: &Arc<Plugin>,
        bound: &Bound,
        input: &ProbeInput,
        access: Arc<dyn ServiceAccess>,
    ) -> (Verdict, bool) {
        if !shadow.decides_for(&input.project) {
            let answer = self.asking(running, bound, input, access.clone()).verdict().await;
            if Instant::now() < shadow.until {
                let beside = self.asking(&shadow.plugin, &shadow.bound, input, access);
                shadow.compare(beside, input.clone(), answer.clone(), false);
            }
            return (answer, true);
        }
        let answer = self.asking(&shadow.plugin, &shadow.bound, input, access.clone()).verdict().await;
        let instead = self.asking(running, bound, input, access);
        match &answer {
            Ok(Some(_)) => {
                shadow.answered(true);
                shadow.compare(instead, input.clone(), answer.clone(), true);
                (answer, false)
            }
            Ok(None) => {
                // It may have forgotten a kind of probe that the running version knows.
                let known = instead.verdict().await;
                shadow.note(input, true, &known, &answer);
                (known, true)
            }
            Err(error) => {
                shadow.failed(error);
                (instead.verdict().await, true)
            }
        }
    }

    /// Begins a trial of the version that lies among the candidates, in place of one that goes on.
    ///
    /// # Errors
    /// [`ShadowError`].
    pub async fn shadow(&self, name: &str, lasts: Duration) -> Result<Trial, ShadowError> {
        let now = self.current();
        let running = now.plugin(name).ok_or_else(|| ShadowError::Unknown(name.to_owned()))?;
        let folder = self.folder.join(CANDIDATES).join(name);
        let plugin = Arc::new(load::load(&self.loader, &folder).await?);
        self.check_operators(&plugin, &folder)?;
        if plugin.digest == running.digest {
            return Err(ShadowError::Same(name.to_owned()));
        }
        let (Some(bound), Some(_)) = (plugin.bound_to(Hook::Probe).cloned(), running.bound_to(Hook::Probe)) else {
            return Err(ShadowError::NoVerdicts(name.to_owned()));
        };
        let (until, slots) = (Instant::now() + lasts, Arc::new(Semaphore::new(BESIDE)));
        let running = running.digest.clone();
        let shadow = Shadow { running, folder, plugin, bound, until, seen: Mutex::default(), slots };
        tracing::info!(plugin.id = name, plugin.digest = shadow.plugin.digest, "a version is tried beside the running one");
        self.shadows.set(name, Some(Arc::new(shadow)));
        self.trial(name)
    }

    /// How the trial of a plugin is going.
    ///
    /// # Errors
    /// [`ShadowError::NoTrial`].
    pub fn trial(&self, name: &str) -> Result<Trial, ShadowError> {
        let shadow = self.shadows.of(name).ok_or_else(|| ShadowError::NoTrial(name.to_owned()))?;
        let running = self.current().plugin(name).map(|running| running.digest.clone()).unwrap_or_default();
        let (candidate, version) = (shadow.plugin.digest.clone(), shadow.plugin.manifest.version.clone());
        let (left, seen) = (shadow.until.saturating_duration_since(Instant::now()), shadow.seen().clone());
        Ok(Trial { plugin: name.to_owned(), running, candidate, version, left, seen })
    }

    /// Lets the version on trial decide for these projects, in place of those before.
    ///
    /// # Errors
    /// [`ShadowError::NoTrial`].
    pub fn promote(&self, name: &str, promoted: Promoted) -> Result<Trial, ShadowError> {
        let shadow = self.shadows.of(name).ok_or_else(|| ShadowError::NoTrial(name.to_owned()))?;
        {
            let mut seen = shadow.seen();
            tracing::info!(plugin.id = name, ?promoted, "the version on trial decides");
            (seen.promoted, seen.taken_back, seen.failed_in_a_row) = (promoted, None, 0);
            seen.worse_in_a_row.clear();
        }
        self.trial(name)
    }

    /// Ends the trial: the running version decides.
    ///
    /// # Errors
    /// [`ShadowError::NoTrial`].
    pub fn end_trial(&self, name: &str) -> Result<Trial, ShadowError> {
        let trial = self.trial(name)?;
        self.shadows.set(name, None);
        Ok(trial)
    }

    /// Puts the version on trial in the folder, in the place of the one that is there. A reload takes it over as any other
    /// version; `rollback` goes back.
    ///
    /// # Errors
    /// [`ShadowError::NoTrial`], [`ShadowError::Write`].
    pub async fn install_candidate(&self, name: &str) -> Result<(), ShadowError> {
        let _alone = self.changing.lock().await;
        let shadow = self.shadows.of(name).ok_or_else(|| ShadowError::NoTrial(name.to_owned()))?;
        let candidate = self.folder.join(CANDIDATES).join(name);
        let (_, manifest) = load::read_manifest(&candidate)?;
        load::read_component(&candidate, &manifest)?;
        if format!("sha256:{}", manifest.sha256) != shadow.plugin.digest {
            return Err(std::io::Error::other("the folder of candidates has another version than the one on trial").into());
        }
        versions::take_place(&candidate, &self.folder.join(name))?;
        // An older version may have been put in this one's place once.
        if let Some(kept) = &self.versions {
            kept.hold(name, None)?;
        }
        self.shadows.set(name, None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_share_includes_the_smaller_one() {
        let projects: Vec<ProjectRef> = (0..200_u32)
            .map(|number| {
                let letters: String = (0..20).map(|at| char::from(b'a' + ((number >> (at % 8)) % 26) as u8)).collect();
                ProjectRef::parse(&letters).unwrap()
            })
            .collect();
        let of = |percent| Promoted { percent, ..Promoted::default() };
        for project in &projects {
            assert!(!of(0).includes(project) && of(100).includes(project));
            assert!(!of(25).includes(project) || of(60).includes(project));
        }
        let quarter = projects.iter().filter(|project| of(25).includes(project)).count();
        assert!((20..80).contains(&quarter), "{quarter} of 200");
        let one = Promoted { projects: BTreeSet::from([projects[0].clone()]), ..Promoted::default() };
        assert!(one.includes(&projects[0]) && !one.includes(&projects[1]));
    }
}
