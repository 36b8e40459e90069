//! What the steps of a load cost by themselves, on one core: what no load can be faster than.

use std::hint::black_box;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use anyhow::ensure;
use loader_worker::parts;

use crate::data::{decoded, first_lines, sample_lines};
use crate::figures::{Figures, median};

/// The steps are measured with the lines of the sample, so many times over: they differ much in size.
const SAMPLES: usize = 4;

const BATCH: usize = 100;

/// As [`sink`](crate::sink) answers.
const ANSWER: &str = r#"{"response":{"id":"00000000-0000-0000-0000-000000000000","status":"200","location":"Observation/00000000-0000-0000-0000-000000000000/_history/1","etag":"W/\"1\"","lastModified":"2026-01-01T00:00:00.000Z"}}"#;

/// Nanoseconds a resource of each step.
pub fn measure(
    [plain, gz, zst]: [&Path; 3],
    runs: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let lines = first_lines(plain, SAMPLES * sample_lines()?.len())?;
    let text: Vec<u8> = lines.join(&b'\n');
    let per_line = |seconds: f64| seconds * 1e9 / count(lines.len());
    let split = || black_box(memchr::memchr_iter(b'\n', &text).count());
    figures.add("split_ns_per_resource", per_line(time(runs, split)));
    ensure!(
        lines.iter().all(|line| parts::is_resource(line)),
        "odd data"
    );
    let check = || black_box(lines.iter().filter(|l| parts::is_resource(l)).count());
    figures.add("check_ns_per_resource", per_line(time(runs, check)));
    let body = || {
        for some in lines.chunks(BATCH) {
            black_box(parts::batch_of(some));
        }
    };
    figures.add("body_ns_per_resource", per_line(time(runs, body)));
    let answer = format!(r#"{{"entry":[{}]}}"#, [ANSWER; BATCH].join(","));
    ensure!(
        parts::entries_taken(answer.as_bytes()) == Some(BATCH),
        "odd answer"
    );
    let read = || black_box(parts::entries_taken(answer.as_bytes()));
    let answers = time(100 * runs, read) * 1e9 / count(BATCH);
    figures.add("answer_ns_per_resource", answers);
    let mean = count(text.len()) / count(lines.len());
    figures.add("resource_bytes_mean", mean);
    let kinds = [
        ("read_ns_per_resource", plain),
        ("decode_gz_ns_per_resource", gz),
        ("decode_zst_ns_per_resource", zst),
    ];
    for (name, file) in kinds {
        let seconds = (0..runs).map(|_| decode(decoded(file)?));
        let seconds = seconds.collect::<anyhow::Result<_>>()?;
        figures.add(name, median(seconds) * 1e9 * mean);
    }
    Ok(())
}

/// Resources a second if a load took no more than its steps, and what the bare client and the sink take for the
/// wire, with all cores busy all the time.
pub fn add_limits(figures: &mut Figures) -> anyhow::Result<()> {
    let cores = count(std::thread::available_parallelism()?.get());
    let wire = cores * 1e9 / figures.get("bare_hyper_resources_per_s");
    let steps = ["read", "split", "check", "body", "answer"];
    let ns = |step: &str| figures.get(&format!("{step}_ns_per_resource"));
    let plain = wire + steps.map(ns).iter().sum::<f64>();
    let zst = plain - ns("read") + ns("decode_zst");
    let gz = plain - ns("read") + ns("decode_gz");
    figures.add("steps_limit_plain_resources_per_s", cores * 1e9 / plain);
    figures.add("steps_limit_zst_resources_per_s", cores * 1e9 / zst);
    figures.add("steps_limit_gz_resources_per_s", cores * 1e9 / gz);
    let of_limit = figures.get("plain_resources_per_s") * plain / (cores * 1e9);
    figures.add("plain_pct_of_steps_limit", 100.0 * of_limit);
    Ok(())
}

/// Seconds that something takes, in the middle of several runs.
fn time<T>(runs: usize, mut step: impl FnMut() -> T) -> f64 {
    let run = |_| {
        let begun = Instant::now();
        step();
        begun.elapsed().as_secs_f64()
    };
    median((0..runs).map(run).collect())
}

/// Seconds to a byte.
fn decode(mut from: Box<dyn Read>) -> anyhow::Result<f64> {
    /// Enough to see the speed.
    const BYTES: usize = 200 << 20;
    let mut buffer = vec![0; 256 << 10];
    let (begun, mut read) = (Instant::now(), 0);
    while read < BYTES {
        match from.read(&mut buffer)? {
            0 => break,
            n => read += n,
        }
    }
    Ok(begun.elapsed().as_secs_f64() / count(read))
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
