//! What goes wrong, and when: one fault that a test has armed, or chances from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Info,
    List,
    Inspect,
    ImageDigest,
    Pull,
    EnsureNetwork,
    RemoveNetwork,
    EnsureVolume,
    RemoveVolume,
    EnsureContainer,
    StartContainer,
    StopContainer,
    RemoveContainer,
    Logs,
    Usage,
    Exec,
    EmptyFolder,
    CopyFolder,
    EnsureGroup,
    RemoveGroup,
    Groups,
    SetLimits,
    Held,
}

impl Call {
    /// As a backend's error names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::List => "list",
            Self::Inspect => "inspect",
            Self::ImageDigest => "inspect image",
            Self::Pull => "pull",
            Self::EnsureNetwork => "create network",
            Self::RemoveNetwork => "remove network",
            Self::EnsureVolume => "create volume",
            Self::RemoveVolume => "remove volume",
            Self::EnsureContainer => "create container",
            Self::StartContainer => "start container",
            Self::StopContainer => "stop container",
            Self::RemoveContainer => "remove container",
            Self::Logs => "logs",
            Self::Usage => "stats",
            Self::Exec => "exec",
            Self::EmptyFolder => "empty folder",
            Self::CopyFolder => "copy folder",
            Self::EnsureGroup => "make group",
            Self::RemoveGroup => "remove group",
            Self::Groups => "groups",
            Self::SetLimits => "limit container",
            Self::Held => "held",
        }
    }

    /// Whether it changes the engine.
    pub fn writes(self) -> bool {
        let reads = [Self::Info, Self::List, Self::Inspect, Self::ImageDigest, Self::Logs, Self::Usage, Self::Groups, Self::Held];
        !reads.contains(&self)
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A 500: nothing is done.
    Refuse,
    /// Nobody listens: nothing is done.
    Unreachable,
    /// It is done, and the answer never arrives.
    LoseReply,
    /// The caller's client gives up after its two minutes; it is done afterwards.
    Late,
    /// It takes twenty seconds.
    Slow,
}

/// Chances in a thousand, per call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub refuse: u32,
    pub lose_reply: u32,
    pub late: u32,
    pub slow: u32,
    /// A removal answers "already in progress" and ends by itself seconds later.
    pub removal_in_progress: u32,
    /// The name of a new container is held by nothing for some seconds.
    pub phantom_name: u32,
    /// A container ends right after it was started, and is started again by the engine.
    pub crash: u32,
    /// Nobody is told of a change.
    pub deaf: u32,
    /// A container that ran when the engine was killed is not started again when it is back.
    pub forgotten: u32,
    /// A container that ran when the engine was killed runs on, without its network.
    pub cut_off: u32,
}

/// Where faults come from.
pub struct Manners {
    pub rng: StdRng,
    pub rates: Rates,
    /// Armed for the next so many calls that write, or for any when `true`.
    armed: Vec<(Fault, bool, u32)>,
    /// How many armed faults have met a call.
    pub met: u32,
    /// Calls take no time.
    pub instant: bool,
    /// Calls so far, by kind.
    pub calls: BTreeMap<Call, u64>,
}

impl Manners {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, rates: Rates::default(), armed: Vec::new(), met: 0, instant: false, calls: BTreeMap::new() }
    }

    /// The next `times` calls (only writing ones, if so asked) meet this fault.
    pub fn arm(&mut self, fault: Fault, writes_only: bool, times: u32) {
        self.armed.push((fault, writes_only, times));
    }

    /// How many calls are still to meet an armed fault.
    pub fn waiting(&self) -> u32 {
        self.armed.iter().map(|(_, _, times)| times).sum()
    }

    /// From now on everything is well.
    pub fn behave(&mut self) {
        self.rates = Rates::default();
        self.armed.clear();
    }

    /// With a chance of so many in a thousand.
    pub fn chance(&mut self, in_a_thousand: u32) -> bool {
        in_a_thousand > 0 && self.rng.random_range(0..1000) < in_a_thousand
    }

    pub(super) fn fate(&mut self, call: Call) -> (Duration, Option<Fault>) {
        *self.calls.entry(call).or_default() += 1;
        let usual = if call.writes() { 5..40 } else { 1..4 };
        let usual = if self.instant { Duration::ZERO } else { Duration::from_millis(self.rng.random_range(usual)) };
        let armed = self.armed.iter_mut().find(|(_, writes_only, times)| *times > 0 && (!*writes_only || call.writes()));
        let fault = if let Some((fault, _, times)) = armed {
            *times -= 1;
            self.met += 1;
            Some(*fault)
        } else {
            self.by_chance()
        };
        let wait = if fault == Some(Fault::Slow) { Duration::from_secs(20) } else { usual };
        (wait, fault)
    }

    fn by_chance(&mut self) -> Option<Fault> {
        let rates = self.rates;
        let chances = [
            (rates.refuse, Fault::Refuse),
            (rates.lose_reply, Fault::LoseReply),
            (rates.late, Fault::Late),
            (rates.slow, Fault::Slow),
        ];
        chances.into_iter().find_map(|(chance, fault)| self.chance(chance).then_some(fault))
    }
}
