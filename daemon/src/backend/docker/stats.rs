//! What a container uses, from the two readings that the engine puts into one answer.

use bollard::models::{ContainerCpuStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use super::DockerBackend;
use crate::backend::{BackendError, Result, Usage};

impl DockerBackend {
    /// Takes the engine one to two seconds: it waits between the readings. A stopped container uses nothing.
    pub(super) async fn usage_now(&self, id: &str) -> Result<Usage> {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(false).build();
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
    let cpu = |stats: Option<&ContainerCpuStats>| {
        let stats = stats?;
        Some((stats.cpu_usage.as_ref()?.total_usage?, stats.system_cpu_usage?, stats.online_cpus.unwrap_or(1)))
    };
    let cpu_cores = match (cpu(stats.precpu_stats.as_ref()), cpu(stats.cpu_stats.as_ref())) {
        (Some((used_before, all_before, _)), Some((used, all, cores))) if all > all_before => {
            used.saturating_sub(used_before) as f64 / (all - all_before) as f64 * f64::from(cores)
        }
        _ => 0.0,
    };
    Usage { cpu_cores, memory_bytes: stats.memory_stats.as_ref().map_or(0, memory) }
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
                "precpu_stats":{"cpu_usage":{"total_usage":1000},"system_cpu_usage":10000},
                "memory_stats":{"usage":1000,"stats":{"inactive_file":1,"total_inactive_file":300}}}"#,
        );
        assert!((v1.cpu_cores - 0.4).abs() < 1e-9);
        assert_eq!(v1.memory_bytes, 700);
        let v2 = read(r#"{"memory_stats":{"usage":1000,"stats":{"inactive_file":100}}}"#);
        assert_eq!((v2.cpu_cores, v2.memory_bytes), (0.0, 900));
        assert_eq!(read("{}").memory_bytes, 0);
    }
}
