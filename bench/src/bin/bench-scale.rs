//! Autoscaling: how the autoscalers of `k8s/` meet loads, in simulated time.

use clap::Parser;
use stoker_bench::figures::Figures;
use stoker_bench::scale::{Course, DAY_S, Indexing, Loading, autoscaler, diurnal, run};

/// Simulates the autoscalers of k8s/components/autoscaling.
#[derive(Debug, Parser)]
struct Args {
    /// Writes no results
    #[arg(long)]
    quick: bool,
}

const HOUR_S: u64 = 3600;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut figures = Figures::default();
    let workers = || autoscaler("loader-worker", (3, 24));
    let indexers = || autoscaler("remote-indexer", (3, 8));

    let at_once = |now: u64| if now == 600 { 5000.0 } else { 0.0 };
    let course = run(
        workers()?,
        &mut Loading::new(at_once, 10.0, 1e9),
        4 * HOUR_S,
    );
    add(&mut figures, STEP, course);

    let bursts = |now: u64| if now.is_multiple_of(1200) { 600.0 } else { 0.0 };
    let course = run(workers()?, &mut Loading::new(bursts, 10.0, 1e9), 4 * HOUR_S);
    add(&mut figures, BURSTS, course);

    // A hundred resources to a unit, ten seconds to a unit.
    let course = run(
        workers()?,
        &mut Loading::new(diurnal(10_000.0), 10.0, 1e9),
        DAY_S,
    );
    add(&mut figures, MILLION, course);

    let course = run(
        workers()?,
        &mut Loading::new(diurnal(1e6), 10.0, 1e9),
        DAY_S,
    );
    add(&mut figures, DIURNAL, course);

    // The server takes what two workers send.
    let course = run(
        workers()?,
        &mut Loading::new(at_once, 10.0, 3.2),
        4 * HOUR_S,
    );
    add(&mut figures, LIMITED, course);

    let surge = |now: u64| {
        if (600..1200).contains(&now) {
            6000.0
        } else {
            1500.0
        }
    };
    let course = run(indexers()?, &mut Indexing::new(surge, 1000.0), 4 * HOUR_S);
    add(&mut figures, SURGE, course);
    if args.quick {
        figures.print();
        return Ok(());
    }
    figures.publish("scale")
}

type Names = [&'static str; 4];
const STEP: Names = [
    "step_turns",
    "step_most_pods",
    "step_longest_wait_s",
    "step_pod_hours",
];
const BURSTS: Names = [
    "bursts_turns",
    "bursts_most_pods",
    "bursts_longest_wait_s",
    "bursts_pod_hours",
];
const MILLION: Names = [
    "million_a_day_turns",
    "million_a_day_most_pods",
    "million_a_day_longest_wait_s",
    "million_a_day_pod_hours",
];
const DIURNAL: Names = [
    "diurnal_turns",
    "diurnal_most_pods",
    "diurnal_longest_wait_s",
    "diurnal_pod_hours",
];
const LIMITED: Names = [
    "limited_server_turns",
    "limited_server_most_pods",
    "limited_server_longest_wait_s",
    "limited_server_pod_hours",
];
const SURGE: Names = [
    "indexers_turns",
    "indexers_most_pods",
    "indexers_longest_wait_s",
    "indexers_pod_hours",
];

#[expect(clippy::cast_precision_loss, reason = "numbers of pods and seconds")]
fn add(figures: &mut Figures, names: Names, course: Course) {
    let [turns, most, wait, pod_hours] = names;
    figures.add(turns, course.turns as f64);
    figures.add(most, course.most as f64);
    figures.add(wait, course.longest_wait_s as f64);
    figures.add(pod_hours, course.pod_hours);
}
