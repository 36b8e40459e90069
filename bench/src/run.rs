//! Runs `stoker load`, and what it is compared with, as processes of their own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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

/// A sink in a process of its own, which ends with this value.
#[derive(Debug)]
pub struct Sink {
    process: Child,
    /// Its base URL.
    pub base: String,
}

impl Sink {
    /// Starts one.
    pub fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(program("bench-sink")?)
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut base = String::new();
        let stdout = process.stdout.take().context("no output of the sink")?;
        BufReader::new(stdout).read_line(&mut base)?;
        let base = base.trim().to_owned();
        Ok(Self { process, base })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Resources a second of a client that only sends what is ready, `resources` about.
pub fn bare(file: &Path, base: &str, resources: u64) -> anyhow::Result<f64> {
    let batches = (resources / 100).to_string();
    rate(&["send", "--batches", &batches, "--to", base], file)
}

/// Resources a second of a load that does no more than it must.
pub fn bare_load(file: &Path, base: &str) -> anyhow::Result<f64> {
    rate(&["load", "--to", base], file)
}

/// What the bare client says.
fn rate(args: &[&str], file: &Path) -> anyhow::Result<f64> {
    let output = Command::new(program("bench-sink")?)
        .args(args)
        .arg(file)
        .stderr(Stdio::inherit())
        .output()?;
    let told = String::from_utf8(output.stdout)?;
    told.trim().parse().context("the bare client told no rate")
}

/// A program beside this one.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    if !program.is_file() {
        bail!(
            "{} is not there; run the benchmark by `make`",
            program.display()
        );
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
    let cpu_before = children_cpu_seconds()?;
    let mut child = Command::new(program("stoker")?)
        .args(["load", "--to", base, "--ledger", ledger, "--json"])
        .args(["--batch", "100", "--concurrency", "8"])
        .arg(file)
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .stdout(Stdio::piped())
        .spawn()?;
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let mut rss_peak_mb = 0.0;
    while child.try_wait()?.is_none() {
        // What a process that is just ending no longer tells stays as it was.
        rss_peak_mb = peak_mb(&process).unwrap_or(rss_peak_mb);
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output()?;
    let cpu_s = children_cpu_seconds()? - cpu_before;
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

/// Most memory that this process held at once so far.
pub fn own_peak_mb() -> anyhow::Result<f64> {
    peak_mb(Path::new("/proc/self")).context("/proc/self/status shows no VmHWM")
}

pub(crate) fn peak_mb(process: &Path) -> Option<f64> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kb: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kb / 1024.0)
}

/// What processes that were started here and have ended took: fields 16 and 17 of `stat` (proc(5)),
/// in ticks of 10 ms.
pub(crate) fn children_cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').context("an odd /proc/self/stat")?.1;
    let ticks: Result<Vec<f64>, _> = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(str::parse)
        .collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}
