//! What projects use, as a series: samples, and what many samples come to. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ServiceName, UnixMillis};

/// One figure over the samples of a point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Of all samples.
    pub sum: i64,
    /// The largest of them.
    pub max: i64,
}

impl Figure {
    /// Of one sample.
    pub fn once(value: i64) -> Self {
        Self { sum: value, max: value }
    }

    fn add(&mut self, other: Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }
}

/// What one service used, or all of a project together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// How many samples this is of.
    pub samples: i64,
    /// Thousandths of a core.
    pub cpu_millis: Figure,
    /// Bytes of memory, page cache left out.
    pub memory_bytes: Figure,
    /// Bytes its network interfaces received since the sample before.
    pub rx_bytes: i64,
    /// Bytes they sent.
    pub tx_bytes: i64,
}

impl Used {
    /// Together with other samples of the same.
    pub fn add(&mut self, other: &Self) {
        self.samples = self.samples.saturating_add(other.samples);
        self.cpu_millis.add(other.cpu_millis);
        self.memory_bytes.add(other.memory_bytes);
        self.rx_bytes = self.rx_bytes.saturating_add(other.rx_bytes);
        self.tx_bytes = self.tx_bytes.saturating_add(other.tx_bytes);
    }

    /// The average thousandths of a core.
    pub fn cpu_millis(&self) -> i64 {
        self.cpu_millis.sum / self.samples.max(1)
    }

    /// The average bytes of memory.
    pub fn memory_bytes(&self) -> i64 {
        self.memory_bytes.sum / self.samples.max(1)
    }
}

/// What a project used at one moment, or over one step of a series.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsagePoint {
    /// The moment, or where the step begins.
    pub at: UnixMillis,
    /// All services together. Its maxima are of the sums, not sums of maxima.
    pub all: Used,
    /// Bytes in the project's folder, the newest reading.
    pub storage_bytes: i64,
    /// Each service.
    pub services: BTreeMap<ServiceName, Used>,
}

impl UsagePoint {
    /// One sample of every service at the same moment.
    pub fn sample(at: UnixMillis, storage_bytes: i64, services: BTreeMap<ServiceName, Used>) -> Self {
        let sum = |of: fn(&Used) -> i64| services.values().map(of).fold(0_i64, i64::saturating_add);
        let all = Used {
            samples: 1,
            cpu_millis: Figure::once(sum(|used| used.cpu_millis.sum)),
            memory_bytes: Figure::once(sum(|used| used.memory_bytes.sum)),
            rx_bytes: sum(|used| used.rx_bytes),
            tx_bytes: sum(|used| used.tx_bytes),
        };
        Self { at, all, storage_bytes, services }
    }

    /// Takes a later point in.
    pub fn add(&mut self, later: &Self) {
        self.all.add(&later.all);
        self.storage_bytes = later.storage_bytes;
        for (service, used) in &later.services {
            self.services.entry(service.clone()).or_default().add(used);
        }
    }
}

/// Where the step of this length begins that a moment lies in.
pub fn step_of(at: UnixMillis, step_ms: i64) -> UnixMillis {
    at - at.rem_euclid(step_ms.max(1))
}

/// The same points in steps of this length; they come oldest first and go so. A step without a sample is not there.
pub fn in_steps(points: Vec<UsagePoint>, step_ms: i64) -> Vec<UsagePoint> {
    let mut steps: Vec<UsagePoint> = Vec::new();
    for point in points {
        let at = step_of(point.at, step_ms);
        match steps.last_mut().filter(|last| last.at == at) {
            Some(last) => last.add(&point),
            None => steps.push(UsagePoint { at, ..point }),
        }
    }
    steps
}

/// The middle value; of an even number the lower one of the two, so that it is one that was seen.
pub fn median(mut values: Vec<i64>) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::parse(text).expect("a name")
    }

    fn used(cpu: i64, memory: i64) -> Used {
        let (cpu_millis, memory_bytes) = (Figure::once(cpu), Figure::once(memory));
        Used { samples: 1, cpu_millis, memory_bytes, rx_bytes: 5, tx_bytes: 7 }
    }

    #[test]
    fn averages_and_maxima_are_of_what_was_seen_together() {
        // Never both at once: the project's maximum is 110, not 200.
        let first = UsagePoint::sample(61_000, 10, BTreeMap::from([(name("a"), used(100, 1)), (name("b"), used(10, 1))]));
        let second = UsagePoint::sample(119_000, 20, BTreeMap::from([(name("a"), used(0, 3)), (name("b"), used(100, 1))]));
        let third = UsagePoint::sample(120_000, 30, BTreeMap::from([(name("a"), used(8, 2))]));
        let steps = in_steps(vec![first, second, third], 60_000);
        assert_eq!(steps.iter().map(|step| (step.at, step.all.samples)).collect::<Vec<_>>(), [(60_000, 2), (120_000, 1)]);
        let step = &steps[0];
        assert_eq!((step.all.cpu_millis(), step.all.cpu_millis.max, step.storage_bytes), (105, 110, 20));
        let a = &step.services[&name("a")];
        assert_eq!((a.cpu_millis(), a.cpu_millis.max, a.memory_bytes(), a.memory_bytes.max), (50, 100, 2, 3));
        assert_eq!((step.all.rx_bytes, step.all.tx_bytes, a.rx_bytes), (20, 28, 10));
        assert_eq!((step_of(-1, 10), step_of(0, 10), step_of(19, 10)), (-10, 0, 10));
    }

    #[test]
    fn the_median_is_a_value_that_was_seen() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3]), Some(3));
        assert_eq!(median(vec![9, 1]), Some(1));
        assert_eq!(median(vec![9, 1, 5]), Some(5));
    }
}
