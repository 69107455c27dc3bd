//! What a container has used so far: one reading of its counters. The caller takes the difference of two; the engine
//! would wait a second or two between readings of its own.

use bollard::models::{ContainerMemoryStats, ContainerNetworkStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::DockerBackend;
use crate::backend::{BackendError, Result, Usage};

impl DockerBackend {
    /// One shot, no stream. A stopped container has used nothing.
    pub(super) async fn usage_now(&self, id: &str) -> Result<Usage> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let sample = |docker: bollard::Docker| async move {
            let mut stream = std::pin::pin!(docker.stats(id, Some(options)));
            stream.next().await.transpose()
        };
        let found = self.read(&format!("stats of {id}"), sample).await?;
        found
            .map(|stats| usage(&stats))
            .ok_or_else(|| BackendError::Busy { what: format!("stats of {id}"), reason: "no reading".into() })
    }
}

fn usage(stats: &ContainerStatsResponse) -> Usage {
    let cpu = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage);
    let networks = || stats.networks.iter().flat_map(|networks| networks.values());
    let bytes = |of: fn(&ContainerNetworkStats) -> Option<u64>| networks().filter_map(of).fold(0, u64::saturating_add);
    Usage {
        cpu_ns: cpu.unwrap_or(0),
        memory_bytes: stats.memory_stats.as_ref().map_or(0, memory),
        rx_bytes: bytes(|network| network.rx_bytes),
        tx_bytes: bytes(|network| network.tx_bytes),
    }
}

/// Without the pages that the kernel gives back when asked: cgroup v2 and v1 name them differently.
fn memory(stats: &ContainerMemoryStats) -> u64 {
    let details = stats.stats.as_ref();
    let cache = ["total_inactive_file", "inactive_file"].iter().find_map(|key| details?.get(*key).copied()).unwrap_or(0);
    stats.usage.unwrap_or(0).saturating_sub(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Usage {
        usage(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn both_generations_of_cgroups_are_read() {
        let v1 = read(
            r#"{"cpu_stats":{"cpu_usage":{"total_usage":3000},"system_cpu_usage":20000,"online_cpus":2},
                "networks":{"eth0":{"rx_bytes":5,"tx_bytes":1},"eth1":{"rx_bytes":7}},
                "memory_stats":{"usage":1000,"stats":{"inactive_file":1,"total_inactive_file":300}}}"#,
        );
        assert_eq!(v1, Usage { cpu_ns: 3000, memory_bytes: 700, rx_bytes: 12, tx_bytes: 1 });
        let v2 = read(r#"{"memory_stats":{"usage":1000,"stats":{"inactive_file":100}}}"#);
        assert_eq!((v2.cpu_ns, v2.memory_bytes), (0, 900));
        assert_eq!(read("{}").memory_bytes, 0);
    }
}
