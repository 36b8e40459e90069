//! Shows how far a run is.

use std::fmt::Write as _;

use indicatif::ProgressStyle;
use stoker_proto::backup::v1::Run;
use tokio::time::Instant;

use super::units::size;
use crate::progress::Progress;

/// While it is not known how much there is, and once it is.
const TEMPLATES: [&str; 2] = ["{spinner} {msg}", "{wide_bar} {percent} %\n{msg}"];

/// Of times left, no more than this is worth telling.
const LONGEST_LEFT: u64 = 30 * 24 * 3600;

/// A bar on a terminal, a line every few seconds elsewhere.
#[derive(Debug)]
pub(super) struct Bar {
    to: Progress,
    has_total: bool,
    /// What the run is at, since when, and how many bytes of it were done then.
    phase: (String, Instant, u64),
}

impl Bar {
    /// Nothing is shown when `quiet`.
    pub(super) fn start(quiet: bool) -> Self {
        let bar = Self {
            to: Progress::start(quiet),
            has_total: false,
            phase: (String::new(), Instant::now(), 0),
        };
        bar.restyle();
        bar
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
        if self.phase.0 != run.phase {
            self.phase = (run.phase.clone(), Instant::now(), run.bytes);
        }
        if self.has_total != run.total_bytes.is_some() {
            self.has_total = run.total_bytes.is_some();
            self.restyle();
        }
        let (_, since, first) = &self.phase;
        let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = text(run, run.bytes.saturating_sub(*first), millis);
        if let Progress::Bar(bar) = &self.to {
            bar.set_length(run.total_bytes.unwrap_or(0));
            bar.set_position(run.bytes);
        }
        self.to.tell(&line);
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.to.end();
    }
}

/// A run in one line: so many bytes of this phase were seen to be done in so many milliseconds.
fn text(run: &Run, bytes: u64, millis: u64) -> String {
    let mut out = at(run);
    // A rate over less says nothing.
    if bytes == 0 || millis < 1000 {
        return out;
    }
    let each_second = u128::from(bytes) * 1000 / u128::from(millis);
    let each_second = u64::try_from(each_second).unwrap_or(u64::MAX).max(1);
    let _ = write!(out, ", {}/s", size(each_second));
    let left = run.total_bytes.unwrap_or(0).saturating_sub(run.bytes);
    if left > 0 {
        let seconds = (left / each_second).min(LONGEST_LEFT);
        let left = std::time::Duration::from_secs(seconds);
        let _ = write!(out, ", about {} left", humantime::format_duration(left));
    }
    out
}

/// What a run is at.
pub(super) fn at(run: &Run) -> String {
    let mut out = run.phase.clone();
    if run.bytes > 0 {
        let _ = write!(out, ", {}", size(run.bytes));
        // A backup's total is the server's estimate, which more may come than.
        if let Some(total) = run.total_bytes.filter(|total| *total >= run.bytes) {
            let _ = write!(out, " of {}", size(total));
        }
    }
    out.trim_start_matches(", ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_how_far_and_how_fast() {
        let mut run = Run {
            phase: "base.tar".to_owned(),
            bytes: 3 << 20,
            total_bytes: Some(13 << 20),
            ..Run::default()
        };
        assert_eq!(
            text(&run, 2 << 20, 2000),
            "base.tar, 3.00 MiB of 13.00 MiB, 1.00 MiB/s, about 10s left"
        );
        assert_eq!(text(&run, 2 << 20, 10), "base.tar, 3.00 MiB of 13.00 MiB");
        run.total_bytes = Some(1 << 20);
        assert_eq!(
            text(&run, 2 << 20, 2000),
            "base.tar, 3.00 MiB, 1.00 MiB/s",
            "more came than was estimated"
        );
        assert_eq!(at(&Run::default()), "");
    }
}
