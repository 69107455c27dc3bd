//! The shapes of usage over time.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::dto::{UsageBody, gib};
use crate::clock::rfc3339;
use crate::domain::{ServiceName, UsagePoint, Used, median};

/// `GET /platform/projects/{id}/usage`.
#[derive(Serialize, ToSchema)]
pub struct UsageSeriesBody {
    /// The ref.
    pub id: String,
    /// Seconds looked back.
    pub window_s: i64,
    /// Seconds of one point.
    pub step_s: i64,
    /// The newest sample; null until there is one.
    pub now: Option<UsageBody>,
    /// The points of the window in short.
    pub summary: SummaryOfUse,
    /// All services together, oldest first. A step without a sample is not there.
    pub points: Vec<PointBody>,
    /// Service -> what it used.
    pub services: BTreeMap<String, ServiceUseBody>,
    /// What went through the gateway.
    pub gateway: Option<GatewayBody>,
}

/// Middle and largest value of the points. Cores and GiB.
#[derive(Serialize, ToSchema, Default)]
pub struct SummaryOfUse {
    /// The median of the points' averages.
    pub cpu_p50: f64,
    /// The largest sample.
    pub cpu_max: f64,
    /// The median of the points' averages.
    pub memory_p50: f64,
    /// The largest sample.
    pub memory_max: f64,
    /// Bytes received in the window.
    pub rx_bytes: i64,
    /// Bytes sent in the window.
    pub tx_bytes: i64,
}

/// One step.
#[derive(Serialize, ToSchema)]
pub struct PointBody {
    /// Where it begins, RFC 3339.
    pub at: String,
    /// Samples in it.
    pub samples: i64,
    /// Cores, the average.
    pub cpu: f64,
    /// Cores, the largest sample.
    pub cpu_max: f64,
    /// GiB, the average.
    pub memory: f64,
    /// GiB, the largest sample.
    pub memory_max: f64,
    /// GiB in the project's folder; only of the whole project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<f64>,
    /// Bytes received over its networks.
    pub rx_bytes: i64,
    /// Bytes sent.
    pub tx_bytes: i64,
}

/// One service.
#[derive(Serialize, ToSchema)]
pub struct ServiceUseBody {
    /// Its points in short.
    pub summary: SummaryOfUse,
    /// Its points, oldest first.
    pub points: Vec<PointBody>,
}

/// What went through the gateway: bytes, for nothing counts its requests.
#[derive(Serialize, ToSchema)]
pub struct GatewayBody {
    /// The service that publishes the project's endpoint.
    pub service: String,
    /// What the figures count: `bytes`, by the engine's counters of the container's networks.
    pub counts: &'static str,
    /// Bytes it received in the window, from callers and from the services behind it.
    pub rx_bytes: i64,
    /// Bytes it sent.
    pub tx_bytes: i64,
    /// Requests; null, for the gateway of the template sets counts none where the daemon could read it.
    pub requests: Option<i64>,
}

impl UsageSeriesBody {
    /// Of a project's points, oldest first.
    pub fn new(
        id: String,
        (window_s, step_s): (i64, i64),
        now: Option<UsageBody>,
        points: &[UsagePoint],
        gateway: Option<&ServiceName>,
    ) -> Self {
        let mut services: BTreeMap<&ServiceName, Vec<(i64, &Used)>> = BTreeMap::new();
        for point in points {
            for (service, used) in &point.services {
                services.entry(service).or_default().push((point.at, used));
            }
        }
        let all: Vec<(i64, &Used)> = points.iter().map(|point| (point.at, &point.all)).collect();
        let through = gateway.map(|service| {
            let summary = SummaryOfUse::of(services.get(service).map(Vec::as_slice).unwrap_or_default());
            let (rx_bytes, tx_bytes) = (summary.rx_bytes, summary.tx_bytes);
            GatewayBody { service: service.to_string(), counts: "bytes", rx_bytes, tx_bytes, requests: None }
        });
        let points = points.iter().map(|point| PointBody::of(point.at, &point.all, Some(point.storage_bytes)));
        let service = |(name, used): (&ServiceName, Vec<(i64, &Used)>)| {
            let points = used.iter().map(|(at, used)| PointBody::of(*at, used, None)).collect();
            (name.to_string(), ServiceUseBody { summary: SummaryOfUse::of(&used), points })
        };
        Self {
            id,
            window_s,
            step_s,
            now,
            summary: SummaryOfUse::of(&all),
            points: points.collect(),
            services: services.into_iter().map(service).collect(),
            gateway: through,
        }
    }
}

impl SummaryOfUse {
    fn of(points: &[(i64, &Used)]) -> Self {
        let used = || points.iter().map(|(_, used)| *used);
        let max = |of: fn(&Used) -> i64| used().map(of).max().unwrap_or_default();
        let middle = |of: fn(&Used) -> i64| median(used().map(of).collect()).unwrap_or_default();
        Self {
            cpu_p50: cores(middle(Used::cpu_millis)),
            cpu_max: cores(max(|used| used.cpu_millis.max)),
            memory_p50: gib(middle(Used::memory_bytes)),
            memory_max: gib(max(|used| used.memory_bytes.max)),
            rx_bytes: used().map(|used| used.rx_bytes).fold(0, i64::saturating_add),
            tx_bytes: used().map(|used| used.tx_bytes).fold(0, i64::saturating_add),
        }
    }
}

impl PointBody {
    fn of(at: i64, used: &Used, storage_bytes: Option<i64>) -> Self {
        Self {
            at: rfc3339(at),
            samples: used.samples,
            cpu: cores(used.cpu_millis()),
            cpu_max: cores(used.cpu_millis.max),
            memory: gib(used.memory_bytes()),
            memory_max: gib(used.memory_bytes.max),
            storage: storage_bytes.map(gib),
            rx_bytes: used.rx_bytes,
            tx_bytes: used.tx_bytes,
        }
    }
}

fn cores(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
