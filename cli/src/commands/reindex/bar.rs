//! Shows how far a run is.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::ProgressStyle;
use stoker_proto::reindex::v1::{Run, RunProgress, RunState};
use tokio::time::Instant;

use crate::progress::Progress;

/// Of times left, no more than this is worth telling.
const LONGEST_LEFT: f64 = 30.0 * 24.0 * 3600.0;

/// Between two lines of the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// While it is not known how many there are, and once it is.
const TEMPLATES: [&str; 2] = ["{spinner} {msg}", "{wide_bar} {percent} %\n{msg}"];

/// A bar on a terminal, a line every few seconds elsewhere; or lines of the log.
#[derive(Debug)]
pub(super) struct Bar {
    to: Progress,
    has_total: bool,
    /// When the last line of the log was written; none where there are none.
    logged: Option<Instant>,
}

impl Bar {
    /// Nothing is shown when `quiet`.
    pub(super) fn start(quiet: bool) -> Self {
        let bar = Self {
            to: Progress::start(quiet),
            has_total: false,
            logged: None,
        };
        bar.restyle();
        bar
    }

    /// Shows it in the log.
    pub(super) fn log() -> Self {
        Self {
            logged: Some(Instant::now()),
            ..Self::start(true)
        }
    }

    fn restyle(&self) {
        if let Progress::Bar(bar) = &self.to
            && let Ok(style) = ProgressStyle::with_template(TEMPLATES[usize::from(self.has_total)])
        {
            bar.set_style(style);
        }
    }

    /// Shows the run as it stands.
    pub(super) fn show(&mut self, run: &Run) {
        let progress = run.progress.clone().unwrap_or_default();
        let paused = match run.state() {
            RunState::Paused => "paused: ",
            _ => "",
        };
        let line = format!("{paused}{}", text(&progress));
        if self.has_total != progress.total.is_some() {
            self.has_total = progress.total.is_some();
            self.restyle();
        }
        if let Progress::Bar(bar) = &self.to {
            bar.set_length(progress.total.unwrap_or(0));
            bar.set_position(done(&progress));
        }
        self.to.tell(&line);
        if let Some(logged) = self.logged.filter(|at| at.elapsed() >= LOG_EVERY) {
            self.logged = Some(logged + LOG_EVERY);
            // What the server says of its trouble may hold patient data.
            let trouble = String::new();
            let progress = RunProgress {
                trouble,
                ..progress
            };
            tracing::info!(run_id = run.run_id, "{paused}{}", text(&progress));
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.to.end();
    }
}

fn done(progress: &RunProgress) -> u64 {
    progress.reindexed + progress.gone + progress.failed
}

/// A run in one line.
pub(super) fn text(progress: &RunProgress) -> String {
    let mut out = progress.reindexed.to_string();
    if let Some(total) = progress.total {
        let _ = write!(out, " of {total}");
    }
    out.push_str(" reindexed");
    for (count, what) in [
        (progress.gone, "gone"),
        (progress.failed, "failed"),
        (progress.waiting, "to be tried again"),
    ] {
        if count > 0 {
            let _ = write!(out, ", {count} {what}");
        }
    }
    if progress.per_second > 0.0 {
        let _ = write!(out, ", {:.0}/s", progress.per_second);
        out.push_str(&left(progress));
    }
    if progress.concurrency > 0 {
        let _ = write!(
            out,
            ", {} at a time of {}",
            progress.concurrency, progress.batch
        );
    }
    if !progress.job_id.is_empty() {
        let _ = write!(
            out,
            ", the server's job {} {}",
            progress.job_id, progress.job_state
        );
    }
    if !progress.trouble.is_empty() {
        let _ = write!(out, "; {}", progress.trouble);
    }
    out.trim_end().to_owned()
}

fn left(progress: &RunProgress) -> String {
    let remaining = progress
        .total
        .and_then(|total| total.checked_sub(done(progress)));
    let Some(remaining) = remaining.filter(|n| *n > 0) else {
        return String::new();
    };
    let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
    let seconds = (f64::from(remaining) / progress.per_second).min(LONGEST_LEFT);
    let whole = Duration::from_secs(Duration::from_secs_f64(seconds).as_secs());
    format!(", about {} left", humantime::format_duration(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_how_fast_and_what_is_wrong() {
        let progress = RunProgress {
            reindexed: 900,
            gone: 50,
            failed: 2,
            waiting: 3,
            total: Some(10_000),
            per_second: 100.0,
            concurrency: 16,
            batch: 250,
            trouble: "the server is away".to_owned(),
            ..RunProgress::default()
        };
        assert_eq!(
            text(&progress),
            "900 of 10000 reindexed, 50 gone, 2 failed, 3 to be tried again, 100/s, about 1m 30s left, \
             16 at a time of 250; the server is away"
        );
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let progress = RunProgress {
            reindexed: 900,
            ..RunProgress::default()
        };
        assert_eq!(text(&progress), "900 reindexed");
        let job = RunProgress {
            job_id: "ab".to_owned(),
            job_state: "QUEUED".to_owned(),
            ..RunProgress::default()
        };
        assert_eq!(text(&job), "0 reindexed, the server's job ab QUEUED");
        let over = RunProgress {
            reindexed: 12,
            total: Some(10),
            per_second: 1.0,
            ..RunProgress::default()
        };
        assert_eq!(text(&over), "12 of 10 reindexed, 1/s");
    }
}
