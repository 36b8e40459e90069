//! What a person should know besides the table.

use super::{Ending, Report, SourceReport};

impl Report {
    /// One sentence each, with what to do.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.result == Ending::Loaded && self.files.to_load == 0 {
            match self.files.unchanged {
                0 => {}
                1 => notes.push(
                    "the one file was loaded before and is unchanged; --reload loads it again"
                        .to_owned(),
                ),
                n => notes.push(format!(
                    "all {n} files were loaded before and are unchanged; --reload loads them again"
                )),
            }
        }
        let left = self.sources.iter().filter(|s| s.has_left_some_before());
        notes.extend(left.filter_map(|source| self.note_of_before(source)));
        notes
    }

    fn note_of_before(&self, source: &SourceReport) -> Option<String> {
        let [errors, retry] = self.jobs_commands(source.job_id)?;
        let (rejected, in_doubt) = (source.rejected_before, source.in_doubt_before);
        Some(format!(
            "still rejected from earlier runs: {rejected}, in doubt: {in_doubt}; `{errors}` lists them, \
             `{retry}` has the next load send them again"
        ))
    }

    /// The commands that list what went wrong with a job, and that take it up again; none when its
    /// ledger is gone with this process.
    pub(super) fn jobs_commands(&self, job_id: i64) -> Option<[String; 2]> {
        let ledger = self.ledger_again.as_ref()?;
        Some(["errors", "retry"].map(|verb| format!("stoker jobs {verb} {job_id}{ledger}")))
    }
}

impl SourceReport {
    pub(super) fn has_left_some_before(&self) -> bool {
        self.rejected_before + self.in_doubt_before > 0
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use loader_worker::stats::Latency;
    use stoker_proto::common::v1::Target;
    use stoker_proto::ledger::v1::{Job, JobProgress, JobState, TypeCount};

    use super::*;
    use crate::report::Facts;

    fn counts(rejected: u64, in_doubt: u64) -> TypeCount {
        TypeCount {
            resource_type: "Patient".to_owned(),
            rejected,
            in_doubt,
            ..TypeCount::default()
        }
    }

    /// The report of a run in which `run` inputs were rejected and in doubt, of `total` in all.
    fn report(unchanged: u64, run: TypeCount, total: TypeCount, again: Option<&str>) -> Report {
        let progress = |count, objects_unchanged| JobProgress {
            counts: vec![count],
            objects_unchanged,
            ..JobProgress::default()
        };
        let mut job = Job {
            job_id: 4,
            run: Some(progress(run, unchanged)),
            total: Some(progress(total, 0)),
            ..Job::default()
        };
        job.set_state(JobState::Done);
        Report::new(Facts {
            jobs: vec![job],
            problems: Vec::new(),
            problems_total: 0,
            latency: Latency::default(),
            started: DateTime::UNIX_EPOCH,
            ended: DateTime::UNIX_EPOCH,
            target: Target::default(),
            interaction: "auto".to_owned(),
            early: None,
            ledger_again: again.map(str::to_owned),
        })
    }

    #[test]
    fn what_earlier_runs_left_is_told_with_what_to_do() {
        let report = report(3, counts(0, 0), counts(2, 1), Some(" --ledger sqlite:x"));
        assert_eq!(report.ending(), Ending::Loaded);
        let notes = report.notes();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(
            notes[0].starts_with("all 3 files were loaded before"),
            "{notes:?}"
        );
        assert!(
            notes[1].contains("rejected from earlier runs: 2, in doubt: 1"),
            "{notes:?}"
        );
        let commands =
            ["errors", "retry"].map(|v| format!("`stoker jobs {v} 4 --ledger sqlite:x`"));
        for text in [notes[1].as_str(), &report.table()] {
            assert!(commands.iter().all(|c| text.contains(c)), "{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["resources"]["rejected_before"], 2);
        assert_eq!(json["sources"][0]["in_doubt_before"], 1);
        assert_eq!(json.get("ledger_again"), None);
    }

    #[test]
    fn what_this_run_rejected_is_no_news_of_earlier_ones() {
        let report = report(0, counts(2, 0), counts(2, 0), Some(""));
        assert_eq!(report.ending(), Ending::SomeRejected);
        assert_eq!(report.notes(), Vec::<String>::new());
        assert!(!report.table().contains("before"), "{}", report.table());
    }
}
