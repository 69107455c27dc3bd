//! Shows an operation as it goes: one line per step, rewritten in place on a terminal.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use serde_json::Value;

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
    pub fn event(&mut self, kind: &str, data: &Value) -> Option<Ended> {
        if data["operation_id"].as_str() != Some(self.operation.as_str()) {
            return None;
        }
        let text = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
        match kind {
            "step" => self.step(&text("step"), &text("state"), &text("detail")),
            "end" => return Some(Ended { state: text("state"), status: text("status") }),
            _ => {}
        }
        None
    }

    fn step(&mut self, step: &str, state: &str, detail: &str) {
        let begun = *self.started.entry(step.to_owned()).or_insert_with(Instant::now);
        let seconds = begun.elapsed().as_secs_f64();
        let at = self.begun.elapsed().as_secs();
        match state {
            "started" if self.terminal => self.rewrite(&format!("{at:>4}s  {step:<16} … {detail}")),
            "started" if detail.is_empty() || self.last == format!("{step}{detail}") => {}
            "started" => {
                self.last = format!("{step}{detail}");
                println!("{at:>4}s  {step:<16} … {detail}");
            }
            "succeeded" => self.line(&format!("{at:>4}s  {step:<16} ✓ {seconds:>5.1}s  {detail}")),
            other => self.line(&format!("{at:>4}s  {step:<16} {other}: {detail}")),
        }
    }

    fn rewrite(&self, text: &str) {
        let short: String = text.chars().take(118).collect();
        print!("\r\x1b[2K{short}");
        let _ = std::io::stdout().flush();
    }

    fn line(&self, text: &str) {
        if self.terminal {
            print!("\r\x1b[2K");
        }
        println!("{text}");
    }
}
