//! Shows an operation as it goes: one line per step, rewritten in place on a terminal.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Instant;

use serde_json::Value;

use super::out;

/// The display of one operation.
pub struct Progress {
    operation: String,
    begun: Instant,
    started: BTreeMap<String, Instant>,
    terminal: bool,
    last: String,
}

/// How an operation ended.
pub struct Ended {
    /// succeeded or failed.
    pub state: String,
    /// The project's status.
    pub status: String,
}

impl Progress {
    /// For one operation.
    pub fn new(operation: &str) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self { operation: operation.to_owned(), begun: Instant::now(), started: BTreeMap::new(), terminal, last: String::new() }
    }

    /// Takes an event; `Some` when the operation has ended.
    ///
    /// # Errors
    /// [`out::ReaderGone`], or what else keeps it from being shown.
    pub fn event(&mut self, kind: &str, data: &Value) -> anyhow::Result<Option<Ended>> {
        if data["operation_id"].as_str() != Some(self.operation.as_str()) {
            return Ok(None);
        }
        let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
        match kind {
            "step" => self.step(&text("step"), &text("state"), &text("detail"))?,
            "end" => return Ok(Some(Ended { state: text("state"), status: text("status") })),
            _ => {}
        }
        Ok(None)
    }

    fn step(&mut self, step: &str, state: &str, detail: &str) -> anyhow::Result<()> {
        let begun = *self.started.entry(step.to_owned()).or_insert_with(Instant::now);
        let seconds = begun.elapsed().as_secs_f64();
        let at = self.begun.elapsed().as_secs();
        match state {
            "started" if self.terminal => self.rewrite(&format!("{at:>4}s  {step:<16} … {detail}")),
            "started" if detail.is_empty() || self.last == format!("{step}{detail}") => Ok(()),
            "started" => {
                self.last = format!("{step}{detail}");
                out::line(&format!("{at:>4}s  {step:<16} … {detail}"))
            }
            "succeeded" => self.line(&format!("{at:>4}s  {step:<16} ✓ {seconds:>5.1}s  {detail}")),
            other => self.line(&format!("{at:>4}s  {step:<16} {other}: {detail}")),
        }
    }

    fn rewrite(&self, text: &str) -> anyhow::Result<()> {
        let short: String = text.chars().take(118).collect();
        out::text(&format!("\r\x1b[2K{short}"))
    }

    fn line(&self, text: &str) -> anyhow::Result<()> {
        let begin = if self.terminal { "\r\x1b[2K" } else { "" };
        out::line(&format!("{begin}{text}"))
    }
}
