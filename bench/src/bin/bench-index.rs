//! How fast the remote indexer writes recorded messages, beside plain COPY of the same rows and one INSERT a row.

use clap::Parser;
use stoker_bench::figures::{Figures, median};
use stoker_bench::index::{Bulk, Filled, Indexed, copy, index, row_at_a_time};
use stoker_tests::fhir_database::{assert_same, parameter_rows};
use stoker_tests::parts;

/// Measures the remote indexer.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Rounds, in each of which the three ways take turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// One round, and nothing is written to results/: for trying out
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if args.quick {
        args.rounds = 1;
    }
    let bulk = Bulk::publish(parts::postgres()).await?;
    let figures = measure(&args, &bulk).await?;
    if args.quick {
        figures.print();
        return Ok(());
    }
    figures.publish("index")
}

async fn measure(args: &Args, bulk: &Bulk) -> anyhow::Result<Figures> {
    let (mut indexed, mut copied, mut inserted) = (Vec::new(), Vec::new(), Vec::new());
    // Of each round: what the machine does besides is in both.
    let mut of_limit = Vec::new();
    let filled = warm_up(bulk).await?;
    for round in 0..args.rounds {
        let database = bulk.database().await?;
        indexed.push(index(bulk, &database, &format!("round-{round}")).await?);
        database.remove().await?;
        let database = bulk.database().await?;
        let seconds = copy(&database, &filled).await?;
        copied.push(bulk.rate(seconds));
        of_limit.extend(indexed.last().map(|i| 100.0 * seconds / i.seconds));
        database.remove().await?;
        let database = bulk.database().await?;
        inserted.push(bulk.rate(row_at_a_time(&database, &filled).await?));
        database.remove().await?;
    }
    let mut figures = Figures::default();
    let of = |figure: fn(&Indexed) -> f64| median(indexed.iter().map(figure).collect());
    let messages_per_s = bulk.rate(of(|i| i.seconds));
    figures.add("messages_per_s", messages_per_s);
    figures.add("copy_limit_messages_per_s", median(copied));
    figures.add("messages_pct_of_copy_limit", median(of_limit));
    figures.add("row_at_a_time_messages_per_s", median(inserted));
    figures.add(
        "cpu_s_per_10k_messages",
        of(|i| i.cpu_s) * 1e4 / bulk.rate(1.0),
    );
    figures.add("rss_peak_mb", of(|i| i.rss_peak_mb));
    figures.add("first_commit_s", of(|i| i.first_commit_s));
    Ok(figures)
}

/// One drain that does not count: what it wrote must be right, and is what the other ways write.
async fn warm_up(bulk: &Bulk) -> anyhow::Result<Filled> {
    let (before, after) = (bulk.database().await?, bulk.database().await?);
    index(bulk, &after, "warm-up").await?;
    assert_same(&bulk.expected()?, &parameter_rows(&after).await?);
    let filled = Filled::of(&before, &after).await?;
    before.remove().await?;
    after.remove().await?;
    let rows = bulk.expected()?.len();
    anyhow::ensure!(
        filled.count() == rows,
        "{} rows instead of {rows}",
        filled.count()
    );
    Ok(filled)
}
