//! What was reached, beside what was aimed at.

use std::time::Duration;

use crate::Wanted;
use crate::idle::Fleet;
use crate::loopback::Compared;

/// A figure of a fleet, how it is shown, and what is aimed at with the largest.
struct Line {
    name: String,
    of: Box<dyn Fn(&Fleet) -> f64>,
    unit: &'static str,
    aim: &'static str,
}

fn line(name: &str, unit: &'static str, aim: &'static str, of: impl Fn(&Fleet) -> f64 + 'static) -> Line {
    Line { name: name.to_owned(), of: Box::new(of), unit, aim }
}

pub fn fleets(fleets: &[Fleet], wanted: &Wanted) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let all = |rows: &std::collections::BTreeMap<&'static str, f64>, usage: bool| -> f64 {
        rows.iter().filter(|(table, _)| table.starts_with("usage") == usage).map(|(_, rows)| rows).sum()
    };
    let mut lines = vec![
        line("start-up to ready", "ms", "< 1000 at 900", move |f| ms(f.ready)),
        line("CPU at rest", "% of a core", "< 5 at 900", |f| f.cpu_percent),
        line("memory at rest", "MiB", "< 150 at 900", |f| f.rss_mib),
        line("memory, highest", "MiB", "", |f| f.rss_max_mib),
        line("engine calls", "per min", "", |f| f.calls.values().sum()),
    ];
    let kinds: std::collections::BTreeSet<&String> = fleets.iter().flat_map(|fleet| fleet.calls.keys()).collect();
    for kind in kinds {
        let (kind, name) = (kind.clone(), format!("  of them {kind}"));
        lines.push(line(&name, "per min", "", move |f| f.calls.get(&kind).copied().unwrap_or_default()));
    }
    lines.push(line("observation rows, first half minute", "per min", "0", |f| f.rows_first["observations"]));
    lines.push(line("observation rows at rest", "per min", "0", |f| f.rows["observations"]));
    lines.push(line("other rows at rest, usage left out", "per min", "0", move |f| all(&f.rows, false) - f.rows["observations"]));
    lines.push(line("usage rows at rest", "per min", "", move |f| all(&f.rows, true)));
    for (place, name, aim) in [(0, "GET one", "< 2 at 900"), (1, "list, a page of 50", ""), (2, "list of all", "< 20 at 900")] {
        for (paced, how) in [(true, "paced"), (false, "flat out")] {
            let of = move |fleet: &Fleet| (if paced { &fleet.paced } else { &fleet.fast })[place].clone();
            lines.push(line(&format!("{name}, {how}: p50"), "ms", "", move |f| ms(of(f).at(500))));
            lines.push(line(&format!("{name}, {how}: p99"), "ms", aim, move |f| ms(of(f).at(990))));
            if !paced {
                lines.push(line(&format!("{name}, {how}: answers"), "per s", "", move |f| of(f).count() as f64 / 5.0));
            }
        }
    }
    println!("== a fleet at rest, and asked by {} clients", wanted.clients);
    let mut rows = vec![head(fleets)];
    rows.extend(lines.iter().map(|line| row(line, fleets)));
    print(&rows);
    println!();
    println!(
        "Ten services per project, each probed every 10 s. The engine is the fake one of the tests, in the daemon's process:"
    );
    println!(
        "its own work is part of the CPU share and of the memory. Rest: {} s, half a minute after the start.",
        wanted.rest.as_secs()
    );
    println!("Paced: each client asks twice a second (for all projects: once in five seconds). Clients are another process.");
}

fn head(fleets: &[Fleet]) -> Vec<String> {
    let mut head = vec![String::new()];
    head.extend(fleets.iter().map(|fleet| format!("{} projects", fleet.projects)));
    head.extend(fleets.windows(2).map(|pair| format!("x{:.0} grows by", pair[1].projects as f64 / pair[0].projects as f64)));
    head.extend(["unit".to_owned(), "aim".to_owned()]);
    head
}

fn row(line: &Line, fleets: &[Fleet]) -> Vec<String> {
    let values: Vec<f64> = fleets.iter().map(|fleet| (line.of)(fleet)).collect();
    let mut row = vec![line.name.clone()];
    row.extend(values.iter().map(|value| number(*value)));
    row.extend(values.windows(2).map(|pair| if pair[0] > 0.0 { format!("x{:.1}", pair[1] / pair[0]) } else { "-".to_owned() }));
    row.extend([line.unit.to_owned(), line.aim.to_owned()]);
    row
}

fn number(value: f64) -> String {
    if value == 0.0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

pub fn loopback(compared: &Compared) {
    println!();
    println!("== HTTP probes over loopback, against a bare client loop that asks the same");
    let us = |time: f64| format!("{:.0}", time * 1e6);
    let mut rows = vec![["", "CPU per probe, us", "p50, us", "p99, us"].map(str::to_owned).to_vec()];
    for way in &compared.ways {
        let p = |of| us(way.latencies.at(of).as_secs_f64());
        rows.push(vec![way.name.to_owned(), us(way.cpu_s / way.latencies.count() as f64), p(500), p(990)]);
    }
    print(&rows);
    println!();
    let (cpu, p50) = compared.ratios();
    println!("probe to bare loop: CPU {cpu:.2}x, p50 {p50:.2}x (aim: at most 1.3x)");
    println!("{}", compared.note);
}

/// The first column to the left, the others to the right.
fn print(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        if number == 0 {
            println!("{}", widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  "));
        }
    }
}
