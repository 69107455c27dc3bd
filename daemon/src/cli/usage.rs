//! `supamanager project usage`: what a project and its services used, in a table.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;

use super::client::Client;
use super::out;

/// Prints the middle and the largest value of each service over the window.
///
/// # Errors
/// The daemon's own sentence.
pub async fn usage(client: &Client, id: &str, window: &str) -> anyhow::Result<ExitCode> {
    let used = client.json(Method::GET, &format!("/platform/projects/{id}/usage?window={window}"), None).await?;
    let minutes = used["window_s"].as_i64().unwrap_or_default() / 60;
    let points = used["points"].as_array().map(Vec::len).unwrap_or_default();
    out::line(&format!("last {minutes} min, {points} points of {} s; CPU in cores, memory in MiB", used["step_s"]))?;
    let head = ["CPU P50", "CPU MAX", "MEM P50", "MEM MAX", "RECEIVED", "SENT"];
    out::line(&format!("{:<12} {}", "SERVICE", row(head.map(str::to_owned))))?;
    for (service, of) in used["services"].as_object().into_iter().flatten() {
        out::line(&format!("{service:<12} {}", row(cells(&of["summary"]))))?;
    }
    out::line(&format!("{:<12} {}", "(all)", row(cells(&used["summary"]))))?;
    if let Some(storage) = used["now"]["storage"].as_f64() {
        out::line(&format!("storage      {:.0} MiB", storage * 1024.0))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(summary: &Value) -> [String; 6] {
    let number = |key: &str| summary[key].as_f64().unwrap_or_default();
    let cores = |key: &str| format!("{:.2}", number(key));
    let mib = |key: &str| format!("{:.0}", number(key) * 1024.0);
    let bytes = |key: &str| format!("{:.1} MiB", number(key) / 1_048_576.0);
    [cores("cpu_p50"), cores("cpu_max"), mib("memory_p50"), mib("memory_max"), bytes("rx_bytes"), bytes("tx_bytes")]
}

fn row(cells: [String; 6]) -> String {
    let [a, b, c, d, e, f] = cells;
    format!("{a:>8} {b:>8} {c:>8} {d:>8} {e:>12} {f:>12}")
}
