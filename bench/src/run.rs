//! Runs `stoker load` as a process of its own and watches its memory and CPU time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// What one load took.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Resources a second, by the program's own report.
    pub resources_per_s: f64,
    /// User and system time of the program.
    pub cpu_s: f64,
    /// Most memory it held at once.
    pub rss_peak_mb: f64,
}

/// The `stoker` program beside this one.
pub fn program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("stoker");
    if !program.is_file() {
        bail!("{} is not there; run `make bench-load`", program.display());
    }
    Ok(program)
}

/// Loads `file` into `base`; fails unless all `resources` arrive.
pub fn load(
    file: &Path,
    base: &str,
    ledger: &str,
    resources: u64,
    home: &Path,
) -> anyhow::Result<Measured> {
    let mut child = Command::new(program()?)
        .args(["load", "--to", base, "--ledger", ledger, "--json"])
        .arg(file)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .stdout(Stdio::piped())
        .spawn()?;
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let mut rss_peak_mb = 0.0;
    let mut cpu_s = 0.0;
    while child.try_wait()?.is_none() {
        // What a process that is just ending no longer tells stays as it was.
        rss_peak_mb = peak_mb(&process).unwrap_or(rss_peak_mb);
        cpu_s = cpu_seconds(&process).unwrap_or(cpu_s);
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output()?;
    let report: Value = serde_json::from_slice(&output.stdout).context("stoker wrote no report")?;
    if report["resources"]["loaded"] != resources {
        bail!(
            "{} of {resources} resources arrived: {}",
            report["resources"]["loaded"],
            report["reason"]
        );
    }
    let seconds = report["seconds"]
        .as_f64()
        .context("no seconds in the report")?;
    let count = f64::from(u32::try_from(resources)?);
    Ok(Measured {
        resources_per_s: count / seconds,
        cpu_s,
        rss_peak_mb,
    })
}

fn peak_mb(process: &Path) -> Option<f64> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kb: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kb / 1024.0)
}

/// Fields 14 and 15 of `stat` (proc(5)), in ticks of 10 ms.
fn cpu_seconds(process: &Path) -> Option<f64> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}
