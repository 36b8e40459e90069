//! Shows how far a load is: a bar on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stoker_proto::ledger::v1::{Job, JobState};
use tokio::time::Instant;

/// Between two lines when there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where progress goes.
#[derive(Debug)]
pub enum Progress {
    /// A bar on the terminal.
    Bar(ProgressBar),
    /// Lines on standard error.
    Lines {
        /// When the load started.
        started: Instant,
        /// When the last line was written.
        last: Instant,
    },
    /// Nowhere.
    Silent,
}

/// Sums over the jobs of one command.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Sums {
    listing: bool,
    bytes: u64,
    bytes_done: u64,
    files: u64,
    files_done: u64,
    resources: u64,
    problems: u64,
}

impl Sums {
    fn of<'a>(jobs: impl Iterator<Item = &'a Job>) -> Self {
        let mut sums = Self::default();
        for job in jobs {
            sums.listing |= job.state() == JobState::Scanning;
            let Some(run) = &job.run else { continue };
            sums.bytes += run.bytes;
            sums.bytes_done += run.bytes_done;
            sums.files += run.objects;
            sums.files_done += run.objects_done + run.objects_parked;
            sums.problems += run.objects_parked;
            for count in &run.counts {
                sums.resources += count.created + count.updated;
                sums.problems += count.rejected + count.in_doubt;
            }
        }
        sums
    }

    fn text(&self, seconds: f64) -> String {
        let loaded = u32::try_from(self.resources).unwrap_or(u32::MAX);
        let rate = f64::from(loaded) / seconds.max(0.001);
        let problems = match self.problems {
            0 => String::new(),
            n => format!(", {n} problems"),
        };
        let listing = if self.listing { ", still listing" } else { "" };
        format!(
            "{} of {} files{listing}, {} resources, {rate:.0}/s{problems}",
            self.files_done, self.files, self.resources
        )
    }
}

impl Progress {
    /// A bar when standard error is a terminal, lines otherwise; nothing when `quiet`.
    pub fn start(quiet: bool) -> Self {
        if quiet {
            return Self::Silent;
        }
        let now = Instant::now();
        if !std::io::stderr().is_terminal() {
            return Self::Lines {
                started: now,
                last: now,
            };
        }
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
        let template = "{wide_bar} {bytes}/{total_bytes} · {eta} left\n{msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// Shows the jobs as they stand.
    pub fn show<'a>(&mut self, jobs: impl Iterator<Item = &'a Job>) {
        let sums = Sums::of(jobs);
        match self {
            Self::Bar(bar) => {
                bar.set_length(sums.bytes);
                bar.set_position(sums.bytes_done);
                bar.set_message(sums.text(bar.elapsed().as_secs_f64()));
            }
            Self::Lines { started, last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let elapsed = started.elapsed();
                let left = time_left(elapsed, sums.bytes_done, sums.bytes);
                write_line(&format!("{}{left}", sums.text(elapsed.as_secs_f64())));
            }
            Self::Lines { .. } | Self::Silent => {}
        }
    }

    /// Shows a line, now or with the next one that is due.
    pub fn tell(&mut self, line: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(line.to_owned()),
            Self::Lines { last, .. } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                write_line(line);
            }
            Self::Lines { .. } | Self::Silent => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Shows how many of how many things are done: a bar on a terminal, a line every few seconds elsewhere.
#[derive(Debug)]
pub struct Count {
    to: Progress,
    what: &'static str,
}

impl Count {
    /// Of things called `what`; nothing is shown when `quiet`.
    pub fn start(quiet: bool, what: &'static str) -> Self {
        let to = Progress::start(quiet);
        if let Progress::Bar(bar) = &to
            && let Ok(style) =
                ProgressStyle::with_template("{wide_bar} {pos} of {len} {msg} · {eta} left")
        {
            bar.set_style(style);
            bar.set_message(what);
        }
        Self { to, what }
    }

    /// So many are done.
    pub fn show(&mut self, done: u64, all: u64) {
        match &mut self.to {
            Progress::Bar(bar) => {
                bar.set_length(all);
                bar.set_position(done);
            }
            Progress::Lines { started, last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let left = time_left(started.elapsed(), done, all);
                write_line(&format!("{done} of {all} {}{left}", self.what));
            }
            Progress::Lines { .. } | Progress::Silent => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.to.end();
    }
}

fn time_left(elapsed: Duration, done: u64, all: u64) -> String {
    if done == 0 || all <= done {
        return String::new();
    }
    let left = elapsed.as_millis().saturating_mul(u128::from(all - done)) / u128::from(done);
    let seconds = u64::try_from(left / 1000).unwrap_or(u64::MAX);
    let seconds = Duration::from_secs(seconds.min(30 * 24 * 3600));
    format!(", about {} left", humantime::format_duration(seconds))
}

#[expect(
    clippy::print_stderr,
    reason = "progress is what standard error is for here"
)]
fn write_line(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use stoker_proto::ledger::v1::{JobProgress, TypeCount};

    use super::*;

    #[test]
    fn the_line_says_files_resources_rate_and_problems() {
        let mut job = Job::default();
        job.set_state(JobState::Scanning);
        job.run = Some(JobProgress {
            objects: 4,
            objects_done: 1,
            objects_parked: 1,
            counts: vec![TypeCount {
                created: 10,
                updated: 5,
                rejected: 2,
                ..TypeCount::default()
            }],
            ..JobProgress::default()
        });
        let text = Sums::of([&job].into_iter()).text(3.0);
        assert_eq!(
            text,
            "2 of 4 files, still listing, 15 resources, 5/s, 3 problems"
        );
    }

    #[test]
    fn the_time_left_follows_from_the_bytes() {
        assert_eq!(
            time_left(Duration::from_secs(10), 100, 300),
            ", about 20s left"
        );
        assert_eq!(time_left(Duration::from_secs(10), 0, 300), "");
    }
}
