//! What one call of a hook may use. On by default; a manifest may lower them, nobody raises them by accident.
//! Every limit that is reached says what was used, what was allowed, and which setting it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hooks::HookError;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The points of the lifecycle that call out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Makes the files of a stack.
    Render,
    /// Says how a service is doing.
    Probe,
    /// Runs once all services are healthy.
    PostCreate,
    /// Looks at what is asked for.
    Admit,
    /// Runs before a project goes.
    BeforeDelete,
    /// Runs once a resumed project is healthy.
    AfterResume,
    /// Hears what the webhook hears.
    Notify,
}

impl Hook {
    /// Its name in manifests, logs and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Render => "render",
            Self::Probe => "probe",
            Self::PostCreate => "post-create",
            Self::Admit => "admit",
            Self::BeforeDelete => "before-delete",
            Self::AfterResume => "after-resume",
            Self::Notify => "notify",
        }
    }

    /// Whether it changes a project: its plugins belong to the operation that calls them, and may make the requests
    /// that their manifest lists.
    pub fn works_on_a_project(self) -> bool {
        matches!(self, Self::PostCreate | Self::BeforeDelete | Self::AfterResume)
    }
}

/// The limits of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HookLimits {
    /// From the first instruction to the answer, host calls included.
    pub wall: Duration,
    /// Processor time of the guest itself.
    pub cpu: Duration,
    /// Linear memory of all its modules together.
    pub memory_bytes: usize,
    /// What it answers with.
    pub result_bytes: usize,
    /// What it writes to the log; the rest is dropped.
    pub log_bytes: usize,
    /// How often it may call the host.
    pub host_calls: u32,
    /// What one crossing from the guest to the host may copy. Larger than the result, so that a result that
    /// is a little too large is told by its own limit.
    pub crossing_bytes: usize,
}

/// The limits of every hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of `render`.
    pub render: HookLimits,
    /// Of `probe`.
    pub probe: HookLimits,
    /// Of `post-create`, `before-delete` and `after-resume`.
    pub post_create: HookLimits,
    /// Of `admit`.
    pub admit: HookLimits,
    /// Of `notify`.
    pub notify: HookLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            render: HookLimits {
                wall: Duration::from_secs(5),
                cpu: Duration::from_secs(2),
                memory_bytes: 64 * MIB,
                result_bytes: 4 * MIB,
                log_bytes: 64 * KIB,
                host_calls: 1_000,
                crossing_bytes: 8 * MIB,
            },
            probe: HookLimits {
                wall: Duration::from_secs(5),
                cpu: Duration::from_millis(500),
                memory_bytes: 32 * MIB,
                result_bytes: 16 * KIB,
                log_bytes: 16 * KIB,
                host_calls: 50,
                crossing_bytes: MIB,
            },
            post_create: HookLimits {
                wall: Duration::from_secs(120),
                cpu: Duration::from_secs(5),
                memory_bytes: 64 * MIB,
                result_bytes: 256 * KIB,
                log_bytes: 256 * KIB,
                host_calls: 10_000,
                crossing_bytes: MIB,
            },
            admit: HookLimits {
                wall: Duration::from_secs(2),
                cpu: Duration::from_millis(500),
                memory_bytes: 32 * MIB,
                result_bytes: 64 * KIB,
                log_bytes: 16 * KIB,
                host_calls: 50,
                crossing_bytes: MIB,
            },
            notify: HookLimits {
                wall: Duration::from_secs(30),
                cpu: Duration::from_secs(1),
                memory_bytes: 32 * MIB,
                result_bytes: 16 * KIB,
                log_bytes: 16 * KIB,
                host_calls: 100,
                crossing_bytes: MIB,
            },
        }
    }
}

impl Limits {
    /// Those of one hook.
    pub fn of(&self, hook: Hook) -> HookLimits {
        match hook {
            Hook::Render => self.render,
            Hook::Probe => self.probe,
            Hook::PostCreate | Hook::BeforeDelete | Hook::AfterResume => self.post_create,
            Hook::Admit => self.admit,
            Hook::Notify => self.notify,
        }
    }

    /// The most memory any hook may have: what a slot of the pool must hold.
    pub fn memory_bytes_max(&self) -> usize {
        let all = [self.render, self.probe, self.post_create, self.admit, self.notify];
        all.iter().map(|limits| limits.memory_bytes).max().unwrap_or(0)
    }
}

/// What a manifest may say about limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoweredLimits {
    wall_ms: Option<u64>,
    cpu_ms: Option<u64>,
    memory_mib: Option<usize>,
    result_kib: Option<usize>,
    log_kib: Option<usize>,
    host_calls: Option<u32>,
}

impl LoweredLimits {
    /// The limits with the manifest's wishes taken in.
    ///
    /// # Errors
    /// A sentence naming the first wish that is zero or above the host's limit.
    pub fn apply(self, host: HookLimits) -> Result<HookLimits, String> {
        let mut limits = host;
        let millis = |time: &Duration| time.as_millis().to_string();
        lower("wall_ms", self.wall_ms.map(Duration::from_millis), &mut limits.wall, millis)?;
        lower("cpu_ms", self.cpu_ms.map(Duration::from_millis), &mut limits.cpu, millis)?;
        let (mib, kib) = (|bytes: &usize| (bytes / MIB).to_string(), |bytes: &usize| (bytes / KIB).to_string());
        lower("memory_mib", self.memory_mib.map(|mib| mib.saturating_mul(MIB)), &mut limits.memory_bytes, mib)?;
        lower("result_kib", self.result_kib.map(|kib| kib.saturating_mul(KIB)), &mut limits.result_bytes, kib)?;
        lower("log_kib", self.log_kib.map(|kib| kib.saturating_mul(KIB)), &mut limits.log_bytes, kib)?;
        lower("host_calls", self.host_calls, &mut limits.host_calls, u32::to_string)?;
        Ok(limits)
    }
}

/// `show` says a value in the unit of the key.
fn lower<T: PartialOrd + Default + Copy>(
    name: &str,
    wish: Option<T>,
    limit: &mut T,
    show: impl Fn(&T) -> String,
) -> Result<(), String> {
    match wish {
        None => Ok(()),
        Some(wish) if wish == T::default() => Err(format!("`{name}` is 0: leave it out or write a number above 0")),
        Some(wish) if wish > *limit => {
            Err(format!("`{name}` asks for {}, the host allows {}: a manifest may only lower limits", show(&wish), show(limit)))
        }
        Some(wish) => {
            *limit = wish;
            Ok(())
        }
    }
}

/// A limit was reached. Travels through wasmtime as the error itself, so that it is recognised by its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limit on {limit}: used {used}, allowed {allowed}")]
pub struct LimitReached {
    limit: &'static str,
    used: String,
    allowed: String,
    setting: &'static str,
}

impl LimitReached {
    /// The name of the limit on time.
    pub const WALL: &'static str = "wall clock";

    /// Time from the first instruction on.
    pub fn wall(used: Duration, limits: &HookLimits) -> Self {
        Self::new(Self::WALL, millis(used), millis(limits.wall), "wall_ms")
    }

    /// Processor time.
    pub fn cpu(used: Duration, limits: &HookLimits) -> Self {
        Self::new("CPU", millis(used), millis(limits.cpu), "cpu_ms")
    }

    /// Memory the guest asked for.
    pub fn memory(asked: usize, limits: &HookLimits) -> Self {
        Self::new("memory", bytes(asked), bytes(limits.memory_bytes), "memory_mib")
    }

    /// What it answered with.
    pub fn result(used: usize, limits: &HookLimits) -> Self {
        Self::new("result bytes", bytes(used), bytes(limits.result_bytes), "result_kib")
    }

    /// What a guest hands over at once, before the host has seen how much it is.
    pub fn crossing(limits: &HookLimits) -> Self {
        Self::new("bytes handed over", "more".to_owned(), bytes(limits.crossing_bytes), "result_kib")
    }

    /// Calls into the host.
    pub fn host_calls(used: u32, limits: &HookLimits) -> Self {
        Self::new("host calls", used.to_string(), limits.host_calls.to_string(), "host_calls")
    }

    fn new(limit: &'static str, used: String, allowed: String, setting: &'static str) -> Self {
        Self { limit, used, allowed, setting }
    }

    /// As the daemon's error.
    pub fn of(self, plugin: &str, hook: Hook) -> HookError {
        HookError::Limit {
            plugin: plugin.to_owned(),
            limit: self.limit,
            used: self.used,
            allowed: self.allowed,
            setting: format!("`{}` of the hook `{}`", self.setting, hook.as_str()),
        }
    }
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

fn bytes(count: usize) -> String {
    if count >= MIB { format!("{:.1} MiB", count as f64 / MIB as f64) } else { format!("{:.1} KiB", count as f64 / KIB as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(text: &str) -> Result<HookLimits, String> {
        let wish: LoweredLimits = toml::from_str(text).map_err(|error| error.to_string())?;
        wish.apply(Limits::default().probe)
    }

    #[test]
    fn a_manifest_may_lower_a_limit() {
        let limits = lowered("wall_ms = 1000\nmemory_mib = 8").unwrap();
        assert_eq!((limits.wall, limits.memory_bytes), (Duration::from_secs(1), 8 * MIB));
        assert_eq!(limits.host_calls, Limits::default().probe.host_calls);
    }

    #[test]
    fn a_manifest_may_not_raise_a_limit_or_take_it_away() {
        for (text, word) in [
            ("wall_ms = 5001", "wall_ms"),
            ("cpu_ms = 501", "cpu_ms"),
            ("memory_mib = 18446744073709551", "memory_mib"),
            ("host_calls = 0", "host_calls"),
            ("walls_ms = 1", "walls_ms"),
        ] {
            let refusal = lowered(text).unwrap_err();
            assert!(refusal.contains(word), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_reached_limit_names_used_allowed_and_setting() {
        let limits = Limits::default().render;
        let error = LimitReached::memory(100 * MIB, &limits).of("noisy", Hook::Render);
        assert_eq!(
            error.to_string(),
            "plugin `noisy` reached its limit on memory: used 100.0 MiB, allowed 64.0 MiB (`memory_mib` of the hook `render`)"
        );
    }
}
