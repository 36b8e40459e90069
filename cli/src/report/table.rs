//! The report as a table for a person.

use std::fmt::Write as _;

use super::{Counts, InFile, Problem, Report};

/// Problems shown on the screen; the report has them all, as far as it goes.
const SHOWN_PROBLEMS: usize = 10;

impl Report {
    /// The report as a table for a person.
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        self.write_types(out)?;
        self.write_files(out)?;
        self.write_before(out)?;
        self.write_requests(out)?;
        writeln!(
            out,
            "time      {:.1} s, {} resources/s",
            self.seconds, self.resources.per_second
        )?;
        self.write_problems(out)
    }

    fn write_types(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n{:<24}{:>11}{:>11}{:>11}{:>11}",
            "", "created", "updated", "rejected", "in doubt"
        )?;
        for (name, counts) in &self.resources.by_type {
            let name = if name.is_empty() {
                "(no resource)"
            } else {
                name
            };
            write_counts(out, name, counts)?;
        }
        let all = Counts {
            created: self.resources.created,
            updated: self.resources.updated,
            rejected: self.resources.rejected,
            in_doubt: self.resources.in_doubt,
        };
        write_counts(out, "all resources", &all)
    }

    fn write_requests(&self, out: &mut String) -> std::fmt::Result {
        let (sent, retried) = (self.requests.sent, self.requests.retried);
        write!(out, "requests  {sent} sent, {retried} of them again")?;
        let latency = &self.requests.latency;
        // Where services sent them nothing was measured here.
        if latency.requests > 0 {
            write!(
                out,
                "; ms: median {:.1}, 95 % {:.1}, 99 % {:.1}, slowest {:.1}",
                latency.p50_ms, latency.p95_ms, latency.p99_ms, latency.max_ms
            )?;
        }
        writeln!(out)
    }

    fn write_files(&self, out: &mut String) -> std::fmt::Result {
        let files = &self.files;
        write!(out, "\nfiles     {} loaded", files.loaded)?;
        for (count, what) in [
            (files.unchanged, "loaded before and unchanged"),
            (files.unreadable, "unreadable"),
            (
                files
                    .to_load
                    .saturating_sub(files.loaded + files.unreadable),
                "not finished",
            ),
            (files.warnings, "with a warning"),
            (
                files.ignored,
                "ignored (not .json or .ndjson, or not asked for)",
            ),
        ] {
            if count > 0 {
                write!(out, ", {count} {what}")?;
            }
        }
        writeln!(out)
    }

    /// What earlier runs left, since this one does not touch it.
    fn write_before(&self, out: &mut String) -> std::fmt::Result {
        let (rejected, in_doubt) = (
            self.resources.rejected_before,
            self.resources.in_doubt_before,
        );
        if rejected + in_doubt == 0 {
            return Ok(());
        }
        write!(
            out,
            "before    {rejected} rejected, {in_doubt} in doubt, not sent again"
        )?;
        for source in self.sources.iter().filter(|s| s.has_left_some_before()) {
            if let Some([errors, retry]) = self.jobs_commands(source.job_id) {
                write!(out, "; `{errors}` lists them, `{retry}` has them sent")?;
            }
        }
        writeln!(out)
    }

    fn write_problems(&self, out: &mut String) -> std::fmt::Result {
        if self.problems.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nproblems")?;
        for problem in self.problems.iter().take(SHOWN_PROBLEMS) {
            let place = InFile {
                line: problem.line,
                line_in_part: None,
                offset: problem.offset,
                length: problem.length,
            };
            let entry = problem
                .entry
                .map(|e| format!(" entry {e}"))
                .unwrap_or_default();
            let status = problem
                .http_status
                .map(|s| format!(" ({s})"))
                .unwrap_or_default();
            let Problem {
                kind, file, reason, ..
            } = problem;
            writeln!(out, "  {kind}: {file}{place}{entry}{status}: {reason}")?;
        }
        let more = self.problems_total.saturating_sub(SHOWN_PROBLEMS as u64);
        if more > 0 {
            let first = self.sources.first();
            let command = first.and_then(|source| self.jobs_commands(source.job_id));
            let command = command.map_or_else(String::new, |[errors, _]| format!("`{errors}` or "));
            writeln!(
                out,
                "  … and {more} more: {command}--report FILE.json lists them"
            )?;
        }
        Ok(())
    }
}

fn write_counts(out: &mut String, name: &str, counts: &Counts) -> std::fmt::Result {
    let Counts {
        created,
        updated,
        rejected,
        in_doubt,
    } = counts;
    writeln!(
        out,
        "{name:<24}{created:>11}{updated:>11}{rejected:>11}{in_doubt:>11}"
    )
}
