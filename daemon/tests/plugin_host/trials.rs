//! A newer version of a probe plugin on trial: it is compared, decides for whom it is promoted for, and loses that by itself
//! when it fails or worsens verdicts. And a plugin whose failure policy is `fallback`, which lets the next one answer.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use supamanager::domain::{PluginChoices, ProjectRef, ServiceName, ServiceState};
use supamanager::plugin_host::hooks::{HookError, ProbeInput};
use supamanager::plugin_host::{CANDIDATES, Fate, HostConfig, Leave, PluginHost, Promoted, ShadowError, ShadowTrial};

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, component_describing, prober, renderer};
use crate::swapped::says;
use crate::{load, project, render_input};

const HOUR: Duration = Duration::from_secs(3600);
const TRAPS: &str = "unreachable";

fn other_project() -> ProjectRef {
    ProjectRef::parse("zzzzzzzzzzzzzzzzzzzz").expect("a ref")
}

async fn ask(host: &PluginHost, project: ProjectRef) -> ServiceState {
    let service = ServiceName::parse("auth").expect("a service");
    let input = ProbeInput { project, service, spec: "{}".to_owned(), choices: PluginChoices::default() };
    host.probe(input, Fake::answering(Answer::Silence)).await.expect("a verdict").state
}

/// A host of a version that says healthy, with another one among the candidates.
struct Tried {
    plugins: Plugins,
    host: PluginHost,
    data: std::path::PathBuf,
}

impl Tried {
    async fn with(candidate: &[u8], name: &str) -> Self {
        let plugins = Plugins::of("probe", "", &says(0));
        let data = std::env::temp_dir().join(format!("supamanager-trials-{}-{name}", std::process::id()));
        fs::create_dir_all(&data).expect("a folder");
        let config = HostConfig { leave: Leave::of_everything(), ..HostConfig::new(plugins.folder(), &data) };
        let host = PluginHost::load(config).await.expect("it loads");
        let newer = Plugins::of("probe", "", candidate);
        let place = plugins.folder().join(CANDIDATES);
        fs::create_dir_all(&place).expect("a folder");
        fs::rename(newer.folder().join("guest"), place.join("guest")).expect("moved");
        Self { plugins, host, data }
    }

    /// What was asked beside has been answered.
    async fn compared(&self, count: u64) -> ShadowTrial {
        let begun = Instant::now();
        loop {
            let trial = self.host.trial("guest").expect("a trial");
            if trial.seen.compared + trial.seen.left_out >= count {
                return trial;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{count} are expected: {trial:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn promote(&self, percent: u8, may_worsen: bool) {
        self.host.promote("guest", Promoted { percent, may_worsen, ..Promoted::default() }).expect("a trial");
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

#[tokio::test]
async fn a_shadow_decides_nothing_and_shows_where_it_differs() {
    let tried = Tried::with(&says(1), "shadow").await;
    assert!(matches!(tried.host.trial("guest"), Err(ShadowError::NoTrial(_))));
    assert!(matches!(tried.host.shadow("nobody", HOUR).await, Err(ShadowError::Unknown(_))));
    let begun = tried.host.shadow("guest", HOUR).await.expect("it loads");
    assert!(begun.running != begun.candidate && begun.seen.compared == 0, "{begun:?}");
    for _ in 0..20 {
        assert_eq!(ask(&tried.host, project()).await, ServiceState::Healthy);
    }
    let trial = tried.compared(20).await;
    let (seen, only) = (&trial.seen, &trial.seen.differences[0]);
    assert_eq!((seen.same, seen.decided, seen.differences.len()), (0, 0, 1), "{trial:#?}");
    assert_eq!((only.running.as_str(), only.candidate.as_str(), only.count), ("healthy", "starting", seen.compared));
    assert_eq!(only.project, project());
    tried.host.end_trial("guest").expect("there is one");
    assert!(matches!(tried.host.trial("guest"), Err(ShadowError::NoTrial(_))));
    // When its time is over, nobody asks it any more.
    tried.host.shadow("guest", Duration::ZERO).await.expect("it loads");
    ask(&tried.host, project()).await;
    assert_eq!(tried.host.trial("guest").expect("a trial").seen.compared, 0);
}

#[tokio::test]
async fn a_promoted_version_decides_for_its_projects_and_for_no_other_then_for_all() {
    let tried = Tried::with(&says(1), "promoted").await;
    tried.host.shadow("guest", HOUR).await.expect("it loads");
    let projects = BTreeSet::from([project()]);
    tried.host.promote("guest", Promoted { projects, may_worsen: true, percent: 0 }).expect("a trial");
    for _ in 0..5 {
        assert_eq!(ask(&tried.host, project()).await, ServiceState::Starting);
        assert_eq!(ask(&tried.host, other_project()).await, ServiceState::Healthy);
    }
    let trial = tried.compared(10).await;
    assert_eq!((trial.seen.decided, trial.seen.taken_back), (5, None));
    tried.promote(100, true);
    assert_eq!(ask(&tried.host, other_project()).await, ServiceState::Starting);
    // In its place: as any other version, and with a way back.
    tried.host.install_candidate("guest").await.expect("moved");
    let change = tried.host.reload().await.expect("the folder").remove(0);
    assert_eq!((change.fate, change.to.as_deref()), (Fate::Replaced, Some(trial.candidate.as_str())), "{change:?}");
    assert!(!tried.plugins.folder().join(CANDIDATES).join("guest").exists());
    assert_eq!(ask(&tried.host, project()).await, ServiceState::Starting);
    let back = tried.host.rollback("guest", None).await.expect("there is a way back");
    assert_eq!(back.to.as_deref(), Some(trial.running.as_str()));
    assert_eq!(ask(&tried.host, project()).await, ServiceState::Healthy);
}

#[tokio::test]
async fn a_promotion_that_worsens_verdicts_is_taken_back() {
    let tried = Tried::with(&says(2), "worse").await;
    tried.host.shadow("guest", HOUR).await.expect("it loads");
    tried.promote(100, false);
    for count in 1..=3 {
        assert_eq!(ask(&tried.host, project()).await, ServiceState::Unhealthy, "{count}");
        tried.compared(count).await;
    }
    assert_eq!(ask(&tried.host, project()).await, ServiceState::Healthy, "three are enough");
    let trial = tried.host.trial("guest").expect("a trial");
    let why = trial.seen.taken_back.expect("it was taken back");
    assert!(why.contains("auth") && why.contains("`healthy`") && why.contains("`unhealthy`"), "{why}");
    assert_eq!(trial.seen.promoted, Promoted::default());
}

#[tokio::test]
async fn a_promotion_that_fails_costs_no_verdict_and_is_taken_back() {
    let tried = Tried::with(&prober(TRAPS), "fails").await;
    tried.host.shadow("guest", HOUR).await.expect("it loads");
    tried.promote(100, false);
    for _ in 0..3 {
        assert_eq!(ask(&tried.host, project()).await, ServiceState::Healthy, "the running version answers in its place");
    }
    let trial = tried.host.trial("guest").expect("a trial");
    assert!(trial.seen.taken_back.is_some_and(|why| why.contains("3 times in a row")));
    assert_eq!(trial.seen.failures["plugin_trap"], 3);
    for _ in 0..3 {
        assert_eq!(ask(&tried.host, project()).await, ServiceState::Healthy, "now the running version decides");
    }
}

#[tokio::test]
async fn a_version_that_forgot_a_kind_of_probe_does_not_hide_the_one_that_knows_it() {
    let nothing = "(i64.store (i32.const 2048) (i64.const 0)) (i64.store (i32.const 2056) (i64.const 0)) (i32.const 2048)";
    let tried = Tried::with(&prober(nothing), "forgot").await;
    tried.host.shadow("guest", HOUR).await.expect("it loads");
    tried.promote(100, false);
    for _ in 0..4 {
        assert_eq!(ask(&tried.host, project()).await, ServiceState::Healthy);
    }
    let why = tried.host.trial("guest").expect("a trial").seen.taken_back.expect("it was taken back");
    assert!(why.contains("`none`"), "{why}");
}

#[tokio::test]
async fn a_trial_ends_with_the_version_it_is_compared_to() {
    let tried = Tried::with(&says(1), "ends").await;
    tried.host.shadow("guest", HOUR).await.expect("it loads");
    tried.promote(100, true);
    assert_eq!(ask(&tried.host, project()).await, ServiceState::Starting);
    tried.plugins.add("guest", "probe", "", &says(2));
    tried.host.reload().await.expect("the folder");
    assert_eq!(ask(&tried.host, project()).await, ServiceState::Unhealthy, "what the folder has now decides");
    assert!(matches!(tried.host.trial("guest"), Err(ShadowError::NoTrial(_))));
}

/// The same guest under another name, as long as it has four letters.
fn called_gues(hook: &str, body: &str) -> Vec<u8> {
    let describe = "(func (export \"describe\") (result i32)
        (i32.store (i32.const 1024) (i32.const 16)) (i32.store (i32.const 1028) (i32.const 4))
        (i32.store (i32.const 1032) (i32.const 32)) (i32.store (i32.const 1036) (i32.const 5))
        (i32.store (i32.const 1040) (i32.const 16)) (i32.store (i32.const 1044) (i32.const 5)) (i32.const 1024))";
    let name = if hook == "render" { "render" } else { "check" };
    let export = format!("(func (export \"{name}\") (param i32 i32 i32 i32 i32 i32) (result i32) {body})");
    component_describing(hook, "", &export, describe)
}

#[tokio::test]
async fn who_falls_back_lets_the_next_one_answer() {
    let falls_back = "on_failure = \"fallback\"\norder = 1";
    let plugins = Plugins::of("probe", "", &says(1));
    plugins.add("gues", "probe", falls_back, &called_gues("probe", TRAPS));
    let host = load(plugins.folder()).await.expect("they load");
    for _ in 0..8 {
        assert_eq!(ask(&host, project()).await, ServiceState::Starting, "also once it is left alone for a while");
    }
    // Alone, what went wrong is its own error and not that there is no plugin.
    fs::remove_dir_all(plugins.folder().join("guest")).expect("removed");
    let host = load(plugins.folder()).await.expect("it loads");
    let service = ServiceName::parse("auth").expect("a service");
    let input = ProbeInput { project: project(), service, spec: "{}".to_owned(), choices: PluginChoices::default() };
    let error = host.probe(input, Fake::answering(Answer::Silence)).await.expect_err("nobody answers");
    assert!(matches!(error, HookError::Trap { .. }), "{error}");

    let plugins = Plugins::of("render", "", &renderer("(call $ok)"));
    plugins.add("gues", "render", falls_back, &called_gues("render", TRAPS));
    let host = load(plugins.folder()).await.expect("they load");
    let made = host.render(&host.pins(&PluginChoices::default()), render_input()).await;
    assert!(made.is_ok(), "{made:?}");
    for (hook, policy) in [("post-create", "fallback"), ("render", "ignore"), ("notify", "fallback")] {
        let plugins = Plugins::of(hook, &format!("on_failure = \"{policy}\""), &says(0));
        let words = load(plugins.folder()).await.err().expect("refused").to_string();
        assert!(words.contains("on_failure"), "{words}");
    }
}
