//! How fast the ledger on PostgreSQL is with a million objects: registering them, leasing, committing.

use std::time::{Duration, Instant};

use clap::Parser;
use stoker_bench::figures::{Figures, median};
use stoker_bench::ledger::{Bucket, Database, Scanning, Workers};
use stoker_bench::run::own_peak_mb;

/// Measures the ledger.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Objects of the large source
    #[arg(long, default_value_t = 1_000_000)]
    objects: u64,
    /// Fifty thousand objects, and nothing is written to results/: for trying out
    #[arg(long)]
    quick: bool,
    /// Units leased and finished while leases are timed
    #[arg(long, default_value_t = 10_000)]
    units: u32,
    /// Callers that lease at once
    #[arg(long, default_value_t = 4)]
    callers: u32,
    /// Units that are committed to at once
    #[arg(long, default_value_t = 32)]
    committers: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if args.quick {
        args.objects = 50_000;
    }
    let database = Database::create().await?;
    let measured = measure(&args, &database).await;
    database.drop().await?;
    let figures = measured?;
    if args.quick {
        figures.print();
        return Ok(());
    }
    figures.publish("ledger")
}

async fn measure(args: &Args, database: &Database) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    figures.add("fsync", f64::from(u8::from(database.is_durable().await?)));
    let bucket = Bucket::serve().await?;
    let scanning = Scanning::start(database, &bucket).await?;
    let few = args.objects / 10;
    let (few_job, _) = scanning.register(few).await?;
    scanning.ledger.cancel_job(few_job).await?;
    figures.add("rss_peak_mb_tenth", own_peak_mb()?);
    let (job_id, seconds) = scanning.register(args.objects).await?;
    figures.add("rss_peak_mb", own_peak_mb()?);
    let objects = f64::from(u32::try_from(args.objects)?);
    figures.add("register_objects_per_s", objects / seconds);

    let workers = Workers::of(scanning.ledger.clone(), job_id).await?;
    // Before time is taken every connection has prepared its statements, as after a worker's first minute.
    workers.turn_over(args.callers, args.units / 4).await?;
    alone(args, &workers, &mut figures).await?;
    leases(args, &workers, &mut figures).await?;
    commits(args, &workers, &mut figures).await?;
    let mut asked = Vec::new();
    for _ in 0..25 {
        let begun = Instant::now();
        scanning.ledger.job(job_id).await?;
        asked.push(millis(begun.elapsed()));
    }
    figures.add("job_counts_ms", median(asked));
    scanning.stop().await?;
    Ok(figures)
}

/// One caller: what a call takes while nobody else wants the processors.
async fn alone(args: &Args, workers: &Workers, figures: &mut Figures) -> anyhow::Result<()> {
    let took = workers.turn_over(1, args.units / 2).await?;
    figures.add("lease_alone_p50_ms", percentile(&took, 50));
    figures.add("lease_alone_p99_ms", percentile(&took, 99));
    Ok(())
}

/// As many callers as there can be, each at it without a pause: the database is at its limit.
async fn leases(args: &Args, workers: &Workers, figures: &mut Figures) -> anyhow::Result<()> {
    let begun = Instant::now();
    let took = workers.turn_over(args.callers, args.units).await?;
    let units = f64::from(args.units);
    figures.add("units_per_s", units / begun.elapsed().as_secs_f64());
    figures.add("lease_saturated_p50_ms", percentile(&took, 50));
    figures.add("lease_saturated_p99_ms", percentile(&took, 99));
    Ok(())
}

async fn commits(args: &Args, workers: &Workers, figures: &mut Figures) -> anyhow::Result<()> {
    let alone = workers.commit(1, 1000, 0).await?;
    figures.add("commit_alone_ms", 1000.0 / alone);
    let together = workers.commit(args.committers, 20_000, 0).await?;
    figures.add("commits_per_s", together);
    let creating = workers.commit(args.committers, 3200, 100).await?;
    figures.add("created_rows_per_s", creating * 100.0);
    Ok(())
}

/// In milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let found = sorted.get(sorted.len() * percent / 100).copied();
    millis(found.unwrap_or_default())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
