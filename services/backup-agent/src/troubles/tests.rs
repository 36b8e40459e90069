use chrono::Utc;

use super::*;
use crate::manifest::{Check, Part, Proof, StoreKind, VERSION, Verified};

const GIB: u64 = 1 << 30;

/// Noon of the first of January and so many hours.
fn hour(hours: i64) -> DateTime<Utc> {
    let noon = DateTime::from_timestamp(1_767_268_800, 0).unwrap();
    noon + TimeDelta::hours(hours)
}

fn part(name: &str, raw_bytes: u64) -> Part {
    Part {
        name: name.to_owned(),
        bytes: raw_bytes / 6,
        sha256: "ab".to_owned(),
        compression: "zstd".to_owned(),
        raw_bytes,
    }
}

/// A good backup, begun at an hour.
fn backup(hours: i64, bytes: u64) -> Kept {
    let started = hour(hours);
    let manifest = Manifest {
        manifest_version: VERSION,
        name: format!("b{hours}"),
        store: StoreKind::Postgresql,
        source: "fhir".to_owned(),
        engine: "native".to_owned(),
        started,
        ended: started + TimeDelta::minutes(5),
        parts: vec![
            part("base.tar.zst", bytes),
            part("pg_wal.tar.zst", 16 << 20),
        ],
        about: std::collections::BTreeMap::new(),
        elsewhere: None,
        parent: None,
        verified: None,
        proof: None,
    };
    Kept {
        place: "/backups".to_owned(),
        manifest,
    }
}

fn verified(mut kept: Kept, good: bool) -> Kept {
    kept.manifest.verified = Some(Verified {
        at: kept.manifest.ended,
        full: true,
        good,
        problem: if good { "" } else { "base.tar differs" }.to_owned(),
    });
    kept
}

fn proof(at: DateTime<Utc>, good: bool) -> Proof {
    let check = |name: &str, good, saw: &str| Check {
        name: name.to_owned(),
        good,
        saw: saw.to_owned(),
    };
    Proof {
        at,
        good,
        recovery_ms: 1900,
        checks: vec![
            check("start", true, "it answers"),
            check("pg_amcheck", good, "a block is damaged"),
        ],
    }
}

fn run(task: Task, state: RunState, due: Option<DateTime<Utc>>) -> Run {
    Run {
        run_id: 7,
        source: "fhir".to_owned(),
        task,
        due,
        place: "/backups".to_owned(),
        backup: "b0".to_owned(),
        agent: "host:1".to_owned(),
        state,
        reason: "the password is wrong".to_owned(),
        found_bad: false,
        started: hour(0),
        ended: Some(hour(0)),
        phase: String::new(),
        bytes: 0,
        total_bytes: None,
    }
}

/// What is known of a source that is backed up each noon.
struct World {
    rules: Rules,
    timing: Option<Timing>,
    last_due: DateTime<Utc>,
    last_drill_due: Option<DateTime<Utc>>,
    is_proven: bool,
    backups: Vec<Kept>,
    runs: Vec<Run>,
    proofs: Vec<Proven>,
}

impl World {
    fn daily(backups: Vec<Kept>) -> Self {
        let timing = serde_json::json!({"schedule": "0 12 * * *", "jitter": "30m"});
        Self {
            rules: Rules::default(),
            timing: Some(serde_json::from_value(timing).unwrap()),
            last_due: hour(0),
            last_drill_due: None,
            is_proven: false,
            backups,
            runs: Vec::new(),
            proofs: Vec::new(),
        }
    }

    fn known(&self) -> Known<'_> {
        Known {
            timing: self.timing.as_ref(),
            last_due: self.last_due,
            last_drill_due: self.last_drill_due,
            is_proven: self.is_proven,
            backups: &self.backups,
            runs: &self.runs,
            proofs: &self.proofs,
        }
    }

    fn at(&self, now: DateTime<Utc>) -> Vec<Trouble> {
        of(&self.rules, &self.known(), now)
    }

    fn kinds(&self, now: DateTime<Utc>) -> Vec<Kind> {
        self.at(now).iter().map(Trouble::kind).collect()
    }

    fn by(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        awaited(&self.rules, &self.known(), now).unwrap().by
    }
}

#[test]
fn what_is_well_is_no_trouble() {
    let world = World::daily(vec![verified(backup(24, GIB), true), backup(0, GIB)]);
    assert_eq!(world.at(hour(25)), []);
    let only_by_hand = World {
        timing: None,
        ..World::daily(Vec::new())
    };
    assert_eq!(only_by_hand.at(hour(10_000)), []);
}

#[test]
fn a_backup_is_late_half_a_period_after_it_was_due() {
    let world = World::daily(vec![backup(0, GIB)]);
    let by = hour(24 + 12) + TimeDelta::minutes(30);
    assert_eq!(world.by(hour(1)), by);
    assert_eq!(world.kinds(by), []);
    assert_eq!(world.kinds(by + TimeDelta::seconds(1)), [Kind::Late]);
    // It stays late, whatever else comes due.
    assert_eq!(world.kinds(hour(24 * 90)), [Kind::Late]);
    let text = world.at(hour(24 * 90))[0].to_string();
    assert_eq!(
        text,
        "a backup was due at 2026-01-02T12:00:00Z and no good one was there by 2026-01-03T00:30:00Z; the last good \
         one is b0"
    );
}

#[test]
fn how_late_is_late_can_be_set() {
    let mut world = World::daily(vec![backup(0, GIB)]);
    for (deadline, late_after, hours) in [
        ("2h", None, 2),
        ("48h", None, 12),
        ("2h", Some(Duration::from_hours(40)), 40),
    ] {
        let timing = serde_json::json!({"schedule": "0 12 * * *", "deadline": deadline});
        world.timing = Some(serde_json::from_value(timing).unwrap());
        world.rules.late_after = late_after;
        assert_eq!(world.by(hour(1)), hour(24 + hours), "{deadline}");
    }
}

#[test]
fn a_backup_that_is_no_good_does_not_count() {
    let empty = backup(24, 0);
    let empty = Kept {
        manifest: Manifest {
            parts: vec![part("base.tar", 10_240)],
            ..empty.manifest
        },
        ..empty
    };
    let mut refuted = backup(24, GIB);
    refuted.manifest.proof = Some(proof(hour(25), false));
    for bad in [verified(backup(24, GIB), false), refuted, empty] {
        let world = World::daily(vec![bad, backup(0, GIB)]);
        assert!(world.kinds(hour(40)).contains(&Kind::Late));
    }
}

#[test]
fn runs_that_fail_make_no_backup_less_late() {
    let mut world = World::daily(Vec::new());
    let due = |day: i64| Some(hour(24 * day));
    world.runs = vec![
        run(Task::Backup, RunState::Failed, due(3)),
        run(Task::Backup, RunState::Failed, due(2)),
        run(Task::Backup, RunState::Failed, due(1)),
    ];
    world.last_due = hour(72);
    assert_eq!(world.kinds(hour(73)), [Kind::Late, Kind::FailedRun]);
    let text = world.at(hour(73))[0].to_string();
    assert!(text.ends_with("there is no good one at all"), "{text}");
    // Of a schedule that is new nothing is awaited before it first comes due.
    assert_eq!(World::daily(Vec::new()).kinds(hour(30)), []);
    assert_eq!(World::daily(Vec::new()).kinds(hour(37)), [Kind::Late]);
}

#[test]
fn a_backup_of_the_future_hides_nothing() {
    let world = World::daily(vec![backup(24 * 42, GIB), backup(0, GIB)]);
    assert_eq!(world.kinds(hour(40)), [Kind::Late]);
}

#[test]
fn a_backup_has_shrunk_against_the_median_of_the_last_seven() {
    let sizes = |sizes: &[u64]| {
        let last = i64::try_from(sizes.len()).unwrap() * 24;
        let hours = (0..).map(|number| last - number * 24);
        let backups = hours
            .zip(sizes)
            .map(|(hours, mib)| backup(hours, mib << 20));
        let world = World {
            timing: None,
            ..World::daily(backups.collect())
        };
        world.kinds(hour(last))
    };
    assert_eq!(sizes(&[100, 200, 200, 200]), []);
    assert_eq!(sizes(&[99, 200, 200, 200]), [Kind::Shrunk]);
    assert_eq!(sizes(&[99, 200]), [Kind::Shrunk], "one before is enough");
    assert_eq!(sizes(&[99]), []);
    assert_eq!(sizes(&[99, 900, 90, 90, 900, 90]), [], "an outlier is none");
    assert_eq!(
        sizes(&[
            99, 110, 110, 110, 110, 110, 110, 110, 900, 900, 900, 900, 900, 900, 900, 900
        ]),
        [],
        "what came before the last seven is past"
    );
    assert_eq!(sizes(&[200, 10, 200, 200]), [], "the newest counts");
}

#[test]
fn how_much_was_written_meanwhile_is_no_size() {
    let mut before = backup(0, GIB);
    before.manifest.parts[1].raw_bytes = 100 * GIB;
    let world = World::daily(vec![backup(24, GIB), before]);
    assert_eq!(world.kinds(hour(25)), []);
    let mut never = World::daily(vec![backup(24, 1 << 20), backup(0, GIB)]);
    assert_eq!(never.kinds(hour(25)), [Kind::Shrunk]);
    never.rules.shrunk_percent = 0;
    assert_eq!(never.kinds(hour(25)), []);
}

#[test]
fn an_empty_backup_is_told() {
    let mut empty = backup(24, 0);
    empty.manifest.parts = vec![part("mongodump.gz", 0)];
    let world = World::daily(vec![empty, backup(0, GIB)]);
    let told = world.at(hour(25));
    assert_eq!(
        told[0].to_string(),
        "backup b24 is empty: it has 0 bytes in all"
    );
    assert_eq!((told[0].kind(), told.len()), (Kind::Empty, 1));
}

#[test]
fn the_last_run_of_a_task_counts() {
    let mut world = World::daily(vec![backup(24, GIB), backup(0, GIB)]);
    let lost = run(Task::Prune, RunState::Lost, None);
    let restore = run(Task::Restore, RunState::Failed, None);
    let failed = run(Task::Verify, RunState::Failed, None);
    let done = run(Task::Verify, RunState::Done, None);
    let running = run(Task::Prune, RunState::Running, None);
    world.runs = vec![running, lost.clone(), restore, done, failed.clone()];
    let told = world.at(hour(25));
    let texts: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        ["the last prune (run 7) was lost: the password is wrong"]
    );
    assert_eq!(told[0].subject(), "prune");
    // What was to be read back is gone.
    world.runs = vec![Run {
        backup: "b-1".to_owned(),
        ..failed.clone()
    }];
    assert_eq!(world.kinds(hour(25)), []);
    world.runs = vec![failed.clone()];
    assert_eq!(world.kinds(hour(25)), [Kind::FailedRun]);
    world.runs[0].found_bad = true;
    assert_eq!(world.kinds(hour(25)), [], "the backup is the trouble");
}

#[test]
fn a_run_that_was_given_back_has_not_failed() {
    let mut world = World::daily(vec![backup(0, GIB)]);
    world.runs = vec![run(Task::Backup, RunState::Failed, Some(hour(24)))];
    assert_eq!(world.kinds(hour(25)), []);
    world.last_due = hour(24);
    assert_eq!(world.kinds(hour(25)), [Kind::FailedRun]);
    world.runs = vec![run(Task::Drill, RunState::Failed, Some(hour(20)))];
    world.last_drill_due = Some(hour(10));
    assert_eq!(world.kinds(hour(25)), []);
    world.last_drill_due = Some(hour(20));
    assert_eq!(world.kinds(hour(25)), [Kind::FailedRun]);
}

#[test]
fn every_backup_that_is_bad_is_told() {
    let mut unproven = backup(24, GIB);
    unproven.manifest.proof = Some(proof(hour(25), false));
    let damaged = verified(backup(0, GIB), false);
    let world = World::daily(vec![backup(30, GIB), unproven, damaged]);
    let texts: Vec<String> = world.at(hour(31)).iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "backup b24 was restored for proof at 2026-01-02T13:00:00Z and is not good: pg_amcheck: a block is damaged",
            "backup b0 was read back at 2026-01-01T12:05:00Z and is damaged: base.tar differs",
        ]
    );
}

#[test]
fn a_source_is_unproven_when_its_last_good_proof_is_old() {
    let mut world = World::daily((0..=8).rev().map(|day| backup(day * 24, GIB)).collect());
    let now = hour(8 * 24);
    assert_eq!(world.kinds(now), [], "nobody proves it");
    world.is_proven = true;
    let text = world.at(now)[0].to_string();
    assert_eq!(
        text,
        "no backup was restored for proof by 2026-01-08T12:05:00Z; none ever was"
    );
    let proven = |hours, good| Proven {
        place: "/backups".to_owned(),
        name: "b0".to_owned(),
        proof: proof(hour(hours), good),
    };
    world.proofs = vec![proven(190, false), proven(20, true)];
    assert_eq!(world.kinds(now), [Kind::Unproven]);
    world.proofs = vec![proven(190, false), proven(25, true)];
    assert_eq!(world.kinds(now), []);
    world.proofs = vec![proven(24 * 42, true)];
    assert_eq!(world.kinds(now), [Kind::Unproven], "of a wrong clock");
    world.rules.unproven_after = None;
    assert_eq!(world.kinds(now), []);
    let young = World {
        is_proven: true,
        ..World::daily(vec![backup(0, GIB)])
    };
    assert_eq!(young.kinds(hour(10)), []);
}
