//! What the contract calls things.

use chrono::{DateTime, Utc};
use prost_types::{Duration, Timestamp};
use stoker_proto::backup::v1 as proto;

use crate::agent::{Pruned, Unusable};
use crate::catalog::{Kept, Run, RunState, Task};
use crate::manifest::{Check, Elsewhere, Manifest, Part, Proof, Verified};
use crate::retention::{Decision, Verdict};

pub(crate) fn spelled(state: RunState) -> proto::RunState {
    match state {
        RunState::Running => proto::RunState::Running,
        RunState::Done => proto::RunState::Done,
        RunState::Failed => proto::RunState::Failed,
        RunState::Lost => proto::RunState::Lost,
    }
}

pub(crate) fn spelled_task(task: Task) -> proto::Task {
    match task {
        Task::Backup => proto::Task::Backup,
        Task::Verify => proto::Task::Verify,
        Task::Drill => proto::Task::Drill,
        Task::Prune => proto::Task::Prune,
        Task::Restore => proto::Task::Restore,
        Task::Import => proto::Task::Import,
    }
}

pub(super) fn run(run: Run) -> proto::Run {
    proto::Run {
        run_id: run.run_id,
        source: run.source,
        task: spelled_task(run.task).into(),
        due: run.due.map(time),
        place: run.place,
        backup: run.backup,
        agent: run.agent,
        state: spelled(run.state).into(),
        reason: run.reason,
        started: Some(time(run.started)),
        ended: run.ended.map(time),
        phase: run.phase,
        bytes: run.bytes,
        total_bytes: run.total_bytes,
        found_bad: run.found_bad,
    }
}

pub(super) fn backup(kept: Kept) -> proto::Backup {
    let Kept { place, manifest } = kept;
    proto::Backup {
        place,
        name: manifest.name,
        store: manifest.store.name().to_owned(),
        source: manifest.source,
        engine: manifest.engine,
        started: Some(time(manifest.started)),
        ended: Some(time(manifest.ended)),
        parts: manifest.parts.into_iter().map(part).collect(),
        about: manifest.about.into_iter().collect(),
        elsewhere: manifest.elsewhere.map(elsewhere),
        parent: manifest.parent.unwrap_or_default(),
        verified: manifest.verified.map(verified),
        proof: manifest.proof.map(proof),
    }
}

pub(super) fn unusable(unusable: Unusable) -> proto::Unusable {
    proto::Unusable {
        place: unusable.place,
        name: unusable.name,
        reason: unusable.reason,
    }
}

pub(super) fn pruning(pruned: Pruned) -> proto::Pruning {
    let decisions = pruned.plan.map_or(Vec::new(), |plan| plan.backups);
    let manifests = &pruned.manifests;
    proto::Pruning {
        source: pruned.source,
        place: pruned.place,
        decisions: decisions
            .into_iter()
            .map(|d| decision(d, manifests))
            .collect(),
        deleted: pruned.deleted,
        refused: pruned.refused,
    }
}

fn decision(decision: Decision, manifests: &[Manifest]) -> proto::Decision {
    let manifest = manifests
        .iter()
        .find(|manifest| manifest.name == decision.name);
    let (stays, why) = match decision.verdict {
        Verdict::Stays(why) => (true, why.iter().map(ToString::to_string).collect()),
        Verdict::Goes(why) => (false, vec![why.to_string()]),
    };
    proto::Decision {
        name: decision.name,
        started: Some(time(decision.started)),
        bytes: manifest.map_or(0, Manifest::stored_bytes),
        stays,
        why,
    }
}

fn elsewhere(set: Elsewhere) -> proto::Elsewhere {
    proto::Elsewhere {
        stanza: set.stanza,
        label: set.label,
        bytes: set.bytes,
        raw_bytes: set.raw_bytes,
    }
}

fn part(part: Part) -> proto::Part {
    proto::Part {
        name: part.name,
        bytes: part.bytes,
        sha256: part.sha256,
        compression: part.compression,
        raw_bytes: part.raw_bytes,
    }
}

fn verified(verified: Verified) -> proto::Verified {
    proto::Verified {
        at: Some(time(verified.at)),
        full: verified.full,
        good: verified.good,
        problem: verified.problem,
    }
}

fn proof(proof: Proof) -> proto::Proof {
    let recovery = std::time::Duration::from_millis(proof.recovery_ms);
    proto::Proof {
        at: Some(time(proof.at)),
        good: proof.good,
        recovery: Duration::try_from(recovery).ok(),
        checks: proof.checks.into_iter().map(check).collect(),
    }
}

fn check(check: Check) -> proto::Check {
    proto::Check {
        name: check.name,
        good: check.good,
        saw: check.saw,
    }
}

pub(super) fn time(time: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: time.timestamp(),
        // Below 2e9.
        nanos: i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(0),
    }
}
