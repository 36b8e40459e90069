//! How fast `stoker load` is against a server that costs next to nothing, and how much memory it takes.

use std::path::Path;

use clap::Parser;
use stoker_bench::data;
use stoker_bench::figures::{Figures, median};
use stoker_bench::run::{Measured, load};
use stoker_sandbox::{Sandbox, SandboxConfig};

/// Measures `stoker load`.
#[derive(Debug, Parser)]
struct Args {
    /// Size of the file that rates are measured with
    #[arg(long, default_value_t = 1000)]
    mb: u64,
    /// Size of the file that memory is measured with
    #[arg(long, default_value_t = 5000)]
    large_mb: u64,
    /// Runs of each kind
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let config = SandboxConfig {
        null: true,
        ..SandboxConfig::default()
    };
    let sandbox = runtime.block_on(Sandbox::start(config))?;
    let folder = data::folder()?;
    data::ensure_room(folder.path(), (2 * args.mb + args.large_mb) << 20)?;
    let mut figures = Figures::default();
    rates(&args, folder.path(), &sandbox.base_url(), &mut figures)?;
    memory(&args, folder.path(), &sandbox.base_url(), &mut figures)?;
    figures.publish("load")
}

/// Plain, gzip, zstd, without and with a ledger, in turn, so that all see the same machine.
fn rates(args: &Args, folder: &Path, base: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let plain = folder.join("rate.ndjson");
    let resources = data::write_ndjson(&plain, args.mb << 20)?;
    let (gz, zst) = data::compress(&plain)?;
    let mut kinds: [Vec<Measured>; 4] = Default::default();
    for run in 0..args.runs {
        let sqlite = format!("sqlite:{}", folder.join(format!("{run}.sqlite")).display());
        let of_kind = [
            (&plain, "none"),
            (&gz, "none"),
            (&zst, "none"),
            (&plain, sqlite.as_str()),
        ];
        for (measured, (file, ledger)) in kinds.iter_mut().zip(of_kind) {
            measured.push(load(file, base, ledger, resources, folder)?);
        }
    }
    let rate = |kind: &[Measured]| median(kind.iter().map(|m| m.resources_per_s).collect());
    let [plain_runs, gz_runs, zst_runs, sqlite_runs] = &kinds;
    figures.add("plain_resources_per_s", rate(plain_runs));
    figures.add("gz_resources_per_s", rate(gz_runs));
    figures.add("zst_resources_per_s", rate(zst_runs));
    let slowdown = 100.0 * (1.0 - rate(sqlite_runs) / rate(plain_runs));
    figures.add("sqlite_ledger_slowdown_pct", slowdown);
    let millions = f64::from(u32::try_from(resources)?) / 1e6;
    let cpu = median(plain_runs.iter().map(|m| m.cpu_s).collect());
    figures.add("cpu_s_per_million_resources", cpu / millions);
    for file in [plain, gz, zst] {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

fn memory(args: &Args, folder: &Path, base: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let large = folder.join("large.ndjson");
    let resources = data::write_ndjson(&large, args.large_mb << 20)?;
    let ledger = format!("sqlite:{}", folder.join("large.sqlite").display());
    let measured = load(&large, base, &ledger, resources, folder)?;
    figures.add("rss_peak_mb_5gb", measured.rss_peak_mb);
    figures.add("large_file_resources_per_s", measured.resources_per_s);
    Ok(())
}
