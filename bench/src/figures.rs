//! Figures by name: printed as a table, written to `results/`.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Context as _;
use serde_json::json;

use crate::data::repository;

/// The figures of one benchmark.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<&'static str, f64>);

impl Figures {
    /// Adds a figure; its name carries the unit.
    pub fn add(&mut self, name: &'static str, value: f64) {
        let per_unit = if value.abs() < 10.0 { 1000.0 } else { 10.0 };
        self.0.insert(name, (value * per_unit).round() / per_unit);
    }

    /// A figure that was added; NaN when it was not.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    /// Prints the table.
    #[expect(clippy::print_stdout, reason = "the benchmark's result")]
    pub fn print(&self) {
        for (name, value) in &self.0 {
            println!("{name:<40}{value:>14}");
        }
    }

    /// Prints the table and writes `results/{bench}.json`.
    pub fn publish(&self, bench: &str) -> anyhow::Result<()> {
        self.print();
        let text = json!({
            "bench": bench,
            "command": format!("make bench-{bench}"),
            "commit": commit(),
            "machine": {"cpus": std::thread::available_parallelism()?.get(), "memory_mb": memory_mb()?},
            "figures": self.0,
        });
        let file = repository().join(format!("bench/results/{bench}.json"));
        std::fs::write(&file, serde_json::to_string_pretty(&text)? + "\n")?;
        Ok(())
    }
}

/// The middle one of some values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn commit() -> String {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(repository())
        .output();
    output.map_or_else(
        |_| String::new(),
        |o| String::from_utf8_lossy(&o.stdout).trim().to_owned(),
    )
}

fn memory_mb() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().next().context("/proc/meminfo is empty")?;
    let kb: u64 = line
        .split_whitespace()
        .nth(1)
        .context("no MemTotal")?
        .parse()?;
    Ok(kb / 1024)
}
