//! Whether `auto` finds what the best fixed limits reach, on simulated servers.

use std::thread;

use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use stoker_bench::figures::{Figures, median};
use stoker_bench::simulated::{
    Course, CpuBound, Deadlocking, Flaky, FsyncBound, RateLimited, Server, run,
};
use stoker_shared::pace::{Axis, Bounds};

const CONCURRENCY: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const BATCH: [usize; 8] = [1, 5, 10, 25, 50, 100, 200, 500];

/// What is compared: from when it should be found, in seconds.
const FROM: usize = 30;
const TO: usize = 90;

/// Kinds of servers, with the names of their figures: of the worst run and of the median one.
const KINDS: [(&str, &str, &str); 6] = [
    (
        "fsync-bound",
        "fsync_worst_pct_of_best",
        "fsync_median_pct_of_best",
    ),
    (
        "CPU-bound",
        "cpu_worst_pct_of_best",
        "cpu_median_pct_of_best",
    ),
    (
        "rate-limited by requests",
        "limited_requests_worst_pct_of_best",
        "limited_requests_median_pct_of_best",
    ),
    (
        "rate-limited by resources",
        "limited_resources_worst_pct_of_best",
        "limited_resources_median_pct_of_best",
    ),
    (
        "deadlocking",
        "deadlocking_worst_pct_of_best",
        "deadlocking_median_pct_of_best",
    ),
    (
        "flaky",
        "flaky_worst_pct_of_best",
        "flaky_median_pct_of_best",
    ),
];

/// Compares `auto` with all fixed limits of a grid.
#[derive(Debug, Parser)]
struct Args {
    /// Servers of each kind, each with other properties
    #[arg(long, default_value_t = SERVERS)]
    servers: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Only this kind of server, counted from 0
    #[arg(long)]
    kind: Option<usize>,
    /// Print how the limits changed
    #[arg(long)]
    verbose: bool,
}

impl Args {
    /// Whether nothing is left out, so that the figures are those to be kept.
    fn is_all(&self) -> bool {
        self.kind.is_none() && self.first == 1 && self.servers >= SERVERS
    }
}

/// Servers of each kind.
const SERVERS: u64 = 8;

/// Each server is met so many times, with other dice.
const DICE: [u64; 3] = [1, 2, 3];

/// One server, found and best.
struct Compared {
    kind: usize,
    server: u64,
    best_at: (usize, usize),
    /// For each of the dice: the rate of the best fixed limits, and the course with `auto`.
    runs: Vec<(f64, Course)>,
}

impl Compared {
    fn pct(run: &(f64, Course)) -> f64 {
        100.0 * run.1.rate(FROM, TO) / run.0
    }

    /// The mean of `auto` over all dice, beside the one by which the best fixed limits are known.
    fn pct_of_means(&self) -> f64 {
        let auto: f64 = self.runs.iter().map(|run| run.1.rate(FROM, TO)).sum();
        let best: f64 = self.runs.iter().map(|run| run.0).sum();
        100.0 * auto / best
    }

    /// The run in which `auto` did worst.
    fn worst(&self) -> Option<&(f64, Course)> {
        let runs = self.runs.iter();
        runs.min_by(|a, b| Self::pct(a).total_cmp(&Self::pct(b)))
    }

    fn wasted_pct(&self) -> f64 {
        let wasted = self.runs.iter().map(|(_, course)| course.wasted_pct());
        wasted.fold(0.0, f64::max)
    }

    /// The second from which on 95 % were reached in all runs.
    fn slowest(&self) -> usize {
        let reached = |(best, course): &(f64, Course)| course.reached(0.95 * best).unwrap_or(TO);
        self.runs.iter().map(reached).max().unwrap_or(TO)
    }

    #[expect(clippy::print_stdout, reason = "the benchmark's result")]
    fn print(&self, verbose: bool) {
        let Some(run @ (best, course)) = self.worst() else {
            return;
        };
        let (_, concurrency, batch) = course.limits.last().copied().unwrap_or_default();
        println!(
            "{:<26}{:>4}{best:>10.0}{:>9}{:>10.0}{:>9}{:>8.1}{:>10.2}{:>13}",
            KINDS[self.kind].0,
            self.server,
            format!("{}x{}", self.best_at.0, self.best_at.1),
            course.rate(FROM, TO),
            format!("{concurrency}x{batch}"),
            Self::pct(run),
            self.wasted_pct(),
            self.slowest(),
        );
        if verbose {
            for (at, concurrency, batch) in &course.limits {
                println!("  {at:>8.2} s  {concurrency} x {batch}");
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let last = args.first + args.servers;
    let mut cases: Vec<_> = (0..KINDS.len())
        .flat_map(|kind| (args.first..last).map(move |seed| (kind, seed)))
        .collect();
    cases.retain(|(kind, _)| args.kind.is_none_or(|only| only == *kind));
    let half = cases.split_off(cases.len() / 2);
    let other = thread::spawn(move || half.into_iter().map(compare).collect::<Vec<_>>());
    let mut compared: Vec<_> = cases.into_iter().map(compare).collect();
    compared.extend(
        other
            .join()
            .map_err(|_| anyhow::anyhow!("a simulation panicked"))?,
    );
    print_heads();
    for case in &compared {
        case.print(args.verbose);
    }
    let figures = figures(&compared);
    if args.is_all() {
        return figures.publish("tune");
    }
    figures.print();
    Ok(())
}

fn server(kind: usize, seed: u64) -> Box<dyn Server> {
    let mut rng = StdRng::seed_from_u64(1000 * seed);
    match kind {
        0 => Box::new(FsyncBound::new(&mut rng)),
        1 => Box::new(CpuBound::new(&mut rng)),
        2 => Box::new(RateLimited::new(false, &mut rng)),
        3 => Box::new(RateLimited::new(true, &mut rng)),
        4 => Box::new(Deadlocking::new(&mut rng)),
        _ => Box::new(Flaky::new(&mut rng)),
    }
}

/// The best fixed limits are those with the best mean over all dice.
fn compare((kind, number): (usize, u64)) -> Compared {
    let with = |concurrency: Axis, batch: Axis| -> Vec<Course> {
        let bounds = Bounds { concurrency, batch };
        let run = |dice: &u64| {
            let mut server = server(kind, number);
            run(&mut *server, bounds, 100 * number + dice, TO)
        };
        DICE.iter().map(run).collect()
    };
    let (mut best, mut best_at) = (Vec::new(), (0, 0));
    for concurrency in CONCURRENCY {
        for batch in BATCH {
            let courses = with(Axis::fixed(concurrency), Axis::fixed(batch));
            let rates: Vec<f64> = courses.iter().map(|c| c.rate(FROM, TO)).collect();
            if rates.iter().sum::<f64>() > best.iter().sum::<f64>() {
                (best, best_at) = (rates, (concurrency, batch));
            }
        }
    }
    let auto = with(Axis::auto(4, 1, 64), Axis::auto(50, 1, 500));
    Compared {
        kind,
        server: number,
        best_at,
        runs: best.into_iter().zip(auto).collect(),
    }
}

#[expect(clippy::print_stdout, reason = "the benchmark's result")]
fn print_heads() {
    println!(
        "{:<26}{:>4}{:>10}{:>9}{:>10}{:>9}{:>8}{:>10}{:>13}",
        "server", "no", "best/s", "at", "auto/s", "at", "% best", "wasted %", "95 % after s"
    );
}

fn figures(compared: &[Compared]) -> Figures {
    let mut figures = Figures::default();
    let (mut all, mut above) = (Vec::new(), 0);
    for (kind, (_, worst, middle)) in KINDS.into_iter().enumerate() {
        let cases = compared.iter().filter(|case| case.kind == kind);
        let pcts: Vec<f64> = cases
            .flat_map(|c| c.runs.iter().map(Compared::pct))
            .collect();
        if !pcts.is_empty() {
            figures.add(worst, least(&pcts));
            figures.add(middle, median(pcts.clone()));
        }
        above += pcts.iter().filter(|pct| **pct >= 95.0).count();
        all.extend(pcts);
    }
    let share = |part: usize| f64::from(u32::try_from(part).unwrap_or(u32::MAX));
    figures.add("runs", share(all.len()));
    figures.add("runs_at_95_pct_or_more", share(above));
    figures.add("worst_pct_of_best", least(&all));
    let servers: Vec<f64> = compared.iter().map(Compared::pct_of_means).collect();
    let above = servers.iter().filter(|pct| **pct >= 95.0).count();
    figures.add("servers", share(servers.len()));
    figures.add("servers_at_95_pct_or_more", share(above));
    figures.add("worst_server_pct_of_best", least(&servers));
    let wasted = compared.iter().map(Compared::wasted_pct);
    figures.add("worst_wasted_requests_pct", wasted.fold(0.0, f64::max));
    let slowest = compared.iter().map(Compared::slowest).max().unwrap_or(TO);
    figures.add("slowest_s_to_95_pct", share(slowest));
    figures
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::MAX, f64::min)
}
