//! How fast `stoker load` is against a server that costs next to nothing, and how much memory it takes.

use std::path::{Path, PathBuf};

use clap::Parser;
use stoker_bench::figures::{Figures, median};
use stoker_bench::run::{Measured, Sink, bare, bare_load, load};
use stoker_bench::{data, parts};

/// Measures `stoker load`.
#[derive(Debug, Parser)]
struct Args {
    /// Size of the file that rates are measured with
    #[arg(long, default_value_t = 1000)]
    mb: u64,
    /// Size of the file that memory is measured with
    #[arg(long, default_value_t = 20_000)]
    large_mb: u64,
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Small files and few runs, and nothing is written to results/: for trying out
    #[arg(long)]
    quick: bool,
}

fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if args.quick {
        (args.mb, args.large_mb, args.runs) = (300, 600, 3);
    }
    let sink = Sink::start()?;
    let folder = data::folder()?;
    // The compressed copies are small.
    let most = args.mb + args.mb / 4;
    data::ensure_room(folder.path(), most.max(args.large_mb + 500) << 20)?;
    let mut figures = Figures::default();
    rates(&args, folder.path(), &sink.base, &mut figures)?;
    memory(&args, folder.path(), &sink.base, &mut figures)?;
    if args.quick {
        figures.print();
        return Ok(());
    }
    figures.publish("load")
}

/// The kinds of loads that are compared.
const KINDS: usize = 4;

/// Plain, gzip, zstd, without and with a ledger, and the least there can be of a client and of a load, in turn, so
/// that all see the same machine.
fn rates(args: &Args, folder: &Path, base: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let plain = folder.join("rate.ndjson");
    let resources = data::write_ndjson(&plain, args.mb << 20)?;
    let (gz, zst) = data::compress(&plain)?;
    let mut loads: [Vec<Measured>; KINDS] = Default::default();
    let (mut bares, mut bare_loads): (_, [Vec<f64>; 3]) = (Vec::new(), Default::default());
    for run in 0..args.runs {
        let sqlite = format!("sqlite:{}", folder.join(format!("{run}.sqlite")).display());
        bares.push(bare(&plain, base, resources)?);
        for (loads, file) in bare_loads.iter_mut().zip([&plain, &zst, &gz]) {
            loads.push(bare_load(file, base)?);
        }
        let kinds: [(&PathBuf, &str); KINDS] = [
            (&plain, "none"),
            (&plain, &sqlite),
            (&zst, "none"),
            (&gz, "none"),
        ];
        for (loads, (file, ledger)) in loads.iter_mut().zip(kinds) {
            loads.push(load(file, base, ledger, resources, folder)?);
        }
    }
    add_rates(&loads, resources, figures)?;
    let [plain_loads, _, zst_loads, gz_loads] = &loads;
    figures.add("plain_pct_of_bare_hyper", pct_of(&bares, plain_loads));
    figures.add("bare_hyper_resources_per_s", median(bares));
    let kinds = [
        (
            "plain_pct_of_bare_load",
            "bare_load_resources_per_s",
            plain_loads,
        ),
        (
            "zst_pct_of_bare_load",
            "bare_load_zst_resources_per_s",
            zst_loads,
        ),
        (
            "gz_pct_of_bare_load",
            "bare_load_gz_resources_per_s",
            gz_loads,
        ),
    ];
    for ((pct, rate, loads), bares) in kinds.into_iter().zip(bare_loads) {
        figures.add(pct, pct_of(&bares, loads));
        figures.add(rate, median(bares));
    }
    parts::measure([&plain, &gz, &zst], args.runs, figures)?;
    parts::add_limits(figures)?;
    for file in [plain, gz, zst] {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

fn add_rates(
    loads: &[Vec<Measured>; KINDS],
    resources: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let [plain, sqlite, zst, gz] = loads;
    let rate = |loads: &[Measured]| median(loads.iter().map(|m| m.resources_per_s).collect());
    figures.add("plain_resources_per_s", rate(plain));
    figures.add("zst_resources_per_s", rate(zst));
    figures.add("gz_resources_per_s", rate(gz));
    // Run by run: what slows one down slows the other.
    let pairs = plain.iter().zip(sqlite);
    let slowdown = pairs.map(|(none, some)| 1.0 - some.resources_per_s / none.resources_per_s);
    figures.add(
        "sqlite_ledger_slowdown_pct",
        100.0 * median(slowdown.collect()),
    );
    let millions = f64::from(u32::try_from(resources)?) / 1e6;
    let cpu = |loads: &[Measured]| median(loads.iter().map(|m| m.cpu_s / millions).collect());
    figures.add("cpu_s_per_million_resources", cpu(plain));
    figures.add("cpu_s_per_million_resources_sqlite", cpu(sqlite));
    figures.add("cpu_s_per_million_resources_zst", cpu(zst));
    figures.add("cpu_s_per_million_resources_gz", cpu(gz));
    figures.add("rss_peak_mb_1gb", peak(sqlite));
    Ok(())
}

/// What the loads are of others, in percent, run by run.
fn pct_of(others: &[f64], loads: &[Measured]) -> f64 {
    let pairs = loads.iter().zip(others);
    let of_others = pairs.map(|(ours, other)| 100.0 * ours.resources_per_s / other);
    median(of_others.collect())
}

fn peak(loads: &[Measured]) -> f64 {
    loads.iter().map(|m| m.rss_peak_mb).fold(0.0, f64::max)
}

/// On a large file, which must not take more than a small one.
fn memory(args: &Args, folder: &Path, base: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let large = folder.join("large.ndjson");
    let resources = data::write_ndjson(&large, args.large_mb << 20)?;
    let ledger = format!("sqlite:{}", folder.join("large.sqlite").display());
    let measured = load(&large, base, &ledger, resources, folder)?;
    figures.add("rss_peak_mb_20gb", measured.rss_peak_mb);
    figures.add("large_file_resources_per_s", measured.resources_per_s);
    Ok(())
}
