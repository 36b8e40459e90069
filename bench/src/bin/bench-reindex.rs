//! `stoker reindex`: whether `auto` finds what the best fixed limits reach, its memory, and how soon it goes on.

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_bench::figures::{Figures, median};
use stoker_bench::reindex::{Driver, Limits, Target};
use stoker_bench::simulated::{CpuBound, FsyncBound, Live, RateLimited, Server, run};
use stoker_shared::pace::{Axis, Bounds};
use tokio::time::sleep;

const CONCURRENCY: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 200];
const BATCH: [usize; 9] = [5, 10, 25, 50, 100, 200, 400, 700, 1000];

/// Fixed limits that are tried on the live server: those that do best in simulated time.
const CANDIDATES: usize = 2;
/// Each setting is met so many times.
const ROUNDS: usize = 3;
/// Before this a setting is not compared: fixed limits fill the server, `auto` looks for the best ones.
const FIXED_BEGINS: Duration = Duration::from_secs(5);
const AUTO_BEGINS: Duration = Duration::from_secs(30);
/// What is compared.
const WINDOW: Duration = Duration::from_secs(20);

/// Resources that no run comes to the end of.
const ENDLESS: u64 = 1_000_000_000;
/// Resources of the run whose memory is measured.
const MANY: u64 = 10_000_000;
/// How often a driver is killed, and when.
const KILLS: usize = 5;
const KILLED_AFTER: Duration = Duration::from_secs(3);

/// Measures `stoker reindex --client-driven`.
#[derive(Debug, Parser)]
struct Args {
    /// A hundredth of the resources, one round: tries it out and writes nothing
    #[arg(long)]
    quick: bool,
}

/// A simulated server, by its name and its number in [`model`].
const SERVERS: [(&str, &str); 3] = [
    ("fsync-bound", "fsync_pct_of_best"),
    ("CPU-bound", "cpu_pct_of_best"),
    ("rate-limited", "limited_pct_of_best"),
];

fn model(number: usize) -> Box<dyn Server + Send> {
    let mut rng = StdRng::seed_from_u64(7);
    match number {
        0 => Box::new(FsyncBound::new(&mut rng).with_item_s(0.004)),
        1 => Box::new(CpuBound::new(&mut rng)),
        _ => Box::new(RateLimited::new(true, &mut rng)),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (rounds, many) = if args.quick {
        (1, MANY / 100)
    } else {
        (ROUNDS, MANY)
    };
    let mut figures = Figures::default();
    // They wait far more than they work, so that they can be met side by side.
    let (fsync, cpu, limited) = tokio::try_join!(
        compared(0, rounds),
        compared(1, rounds),
        compared(2, rounds)
    )?;
    for ((_, name), pct) in SERVERS.iter().zip([fsync, cpu, limited]) {
        figures.add(name, pct);
    }
    figures.add("worst_pct_of_best", fsync.min(cpu).min(limited));
    memory(many, &mut figures).await?;
    resume(&mut figures).await?;
    if args.quick {
        figures.print();
        return Ok(());
    }
    figures.publish("reindex")
}

/// What `auto` reaches of the best fixed limits on one server, in percent.
async fn compared(number: usize, rounds: usize) -> anyhow::Result<f64> {
    let candidates = tokio::task::spawn_blocking(move || candidates(number)).await?;
    let mut fixed = vec![Vec::new(); candidates.len()];
    let mut auto = Vec::new();
    for round in 0..rounds {
        for (limits, rates) in candidates.iter().zip(&mut fixed) {
            rates.push(rate(number, Some(*limits), round).await?);
        }
        auto.push(rate(number, None, round).await?);
    }
    let medians = fixed.iter().map(|rates| median(rates.clone()));
    let best = medians.fold(f64::MIN, f64::max);
    let found = median(auto.clone());
    tell(number, &candidates, &fixed, &auto);
    Ok(100.0 * found / best)
}

/// The fixed limits that do best on a server, in simulated time.
fn candidates(number: usize) -> Vec<(usize, usize)> {
    const SECONDS: usize = 40;
    let mut found = Vec::new();
    for concurrency in CONCURRENCY {
        for batch in BATCH {
            let bounds = Bounds {
                concurrency: Axis::fixed(concurrency),
                batch: Axis::fixed(batch),
            };
            let course = run(&mut *model(number), bounds, 1, SECONDS);
            found.push((course.rate(SECONDS / 4, SECONDS), (concurrency, batch)));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best = found.into_iter().take(CANDIDATES);
    best.map(|(_, limits)| limits).collect()
}

/// Resources a second of a live server, once a driver has begun well.
async fn rate(number: usize, limits: Limits, round: usize) -> anyhow::Result<f64> {
    let home = tempfile::tempdir()?;
    let live = Live::start(model(number), round as u64);
    let target = Target::start(ENDLESS, Some(live)).await?;
    let mut driver = Driver::start(&target, limits, home.path())?;
    driver.first_call(&target).await?;
    sleep(limits.map_or(AUTO_BEGINS, |_| FIXED_BEGINS)).await;
    let before = target.done();
    sleep(WINDOW).await;
    Ok(to_f64(target.done() - before)? / WINDOW.as_secs_f64())
}

/// The most memory of a run over so many resources, and its rate, on a server that takes no time.
async fn memory(resources: u64, figures: &mut Figures) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let target = Target::start(resources, None).await?;
    let driver = Driver::start(&target, None, home.path())?;
    let (peak_mb, report) = driver.end(resources).await?;
    let seconds = report["seconds"].as_f64().context("no seconds")?;
    figures.add("rss_peak_mb", peak_mb);
    figures.add("resources_per_s", to_f64(resources)? / seconds);
    Ok(())
}

/// How long a driver needs to its first `$reindex` after the one before was killed.
async fn resume(figures: &mut Figures) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let live = Live::start(model(1), 1);
    let target = Target::start(ENDLESS, Some(live)).await?;
    let mut seconds = Vec::new();
    for kills in 0..=KILLS {
        target.take_first_call();
        let mut driver = Driver::start(&target, None, home.path())?;
        let took = driver.first_call(&target).await?;
        if kills > 0 {
            seconds.push(took.as_secs_f64());
        }
        sleep(KILLED_AFTER).await;
    }
    figures.add("resume_s", median(seconds.clone()));
    figures.add("resume_worst_s", seconds.into_iter().fold(0.0, f64::max));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the benchmark's result")]
fn tell(number: usize, candidates: &[(usize, usize)], fixed: &[Vec<f64>], auto: &[f64]) {
    let row = |name: String, rates: &[f64]| {
        let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:>9.0}")).collect();
        println!("{:<14}{name:<12}{}", SERVERS[number].0, rates.concat());
    };
    for ((concurrency, batch), rates) in candidates.iter().zip(fixed) {
        row(format!("{concurrency}x{batch}"), rates);
    }
    row("auto".to_owned(), auto);
}

fn to_f64(n: u64) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(n)?))
}
