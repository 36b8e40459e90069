//! What became of inputs, made durable: the commits of several workers at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::NaiveDateTime;
use stoker_proto::ledger::v1::{
    CommitHeader, EntryOutcome, LoadErrorKind, OutcomeKind, Position, TypeCount,
};
use stoker_shared::ranges::RangeSet;
use stoker_shared::store::rows::{Column, ints, texts};

use super::settle::{self, UnitNow};
use super::work::parse_ranges;
use super::{Conn, LedgerError, begun, keep, records, rows};
use crate::ledger::Commit;
use crate::ledger::text::{int, name};

/// Answers of each whether it was taken, or why not: what is wrong with one is not the others' fault.
pub(super) async fn commit(
    conn: &mut Conn,
    now: NaiveDateTime,
    commits: &[&Commit],
) -> Result<Vec<Result<(), LedgerError>>, LedgerError> {
    if commits.is_empty() {
        return Ok(Vec::new());
    }
    let unit_ids: BTreeSet<i64> = commits.iter().map(|commit| unit_id(commit)).collect();
    let units = settle::lock_units(conn, unit_ids).await?;
    let mut marks = BTreeMap::new();
    let mut taken = Vec::new();
    let mut answers = Vec::with_capacity(commits.len());
    for commit in commits {
        let admitted = admit(&units, &mut marks, commit);
        answers.push(admitted.map(|admitted| taken.extend(admitted)));
    }
    if taken.is_empty() {
        return Ok(answers);
    }
    let load_ids = taken.iter().map(|t| t.unit.resource_bundle_load_id);
    // Before what is summed for them: a load must not change its run meanwhile.
    let objects = settle::lock_loads(conn, &load_ids.collect()).await?;
    mark_done(conn, &marks).await?;
    add_requests(conn, &taken).await?;
    add_counts(conn, &taken).await?;
    records::add_created(conn, now, &objects, &taken).await?;
    records::add_errors(conn, now, &taken).await?;
    Ok(answers)
}

fn unit_id(commit: &Commit) -> i64 {
    commit
        .header
        .lease
        .as_ref()
        .map_or(0, |lease| lease.unit_id)
}

/// A commit that is to be written.
pub(super) struct Taken<'c> {
    pub(super) unit: &'c UnitNow,
    header: &'c CommitHeader,
    pub(super) outcomes: Vec<Checked<'c>>,
}

/// How far a unit is with the commits taken.
struct Mark {
    done: RangeSet,
    begun: RangeSet,
    gets_on: bool,
    source_bytes: i64,
}

/// None for a commit that repeats one.
fn admit<'c>(
    units: &'c HashMap<i64, UnitNow>,
    marks: &mut BTreeMap<i64, Mark>,
    commit: &'c Commit,
) -> Result<Option<Taken<'c>>, LedgerError> {
    let header = &commit.header;
    let outcomes = checked(commit).map_err(|reason| LedgerError::BadCommit {
        unit_id: unit_id(commit),
        reason,
    })?;
    let unit = settle::held(units, &header.lease.clone().unwrap_or_default())?;
    let mark = match marks.get_mut(&unit.unit_id) {
        Some(mark) => mark,
        None => marks.entry(unit.unit_id).or_insert(Mark {
            done: parse_ranges(&unit.done_ranges)?,
            begun: parse_ranges(&unit.begun_ranges)?,
            gets_on: false,
            source_bytes: 0,
        }),
    };
    if is_repeat(header, &mark.done) {
        return Ok(None);
    }
    for range in &header.done {
        mark.done.insert(range.start..range.end);
        mark.gets_on = true;
    }
    begun::after(&mut mark.begun, &header.begun, &mark.done);
    mark.source_bytes = mark.source_bytes.max(int(header.source_bytes));
    Ok(Some(Taken {
        unit,
        header,
        outcomes,
    }))
}

/// An outcome that says all it must.
pub(super) struct Checked<'c> {
    pub(super) outcome: &'c EntryOutcome,
    pub(super) position: Position,
    /// None when the resource was created.
    pub(super) error: Option<LoadErrorKind>,
    /// The input's bytes.
    pub(super) quarantine: Vec<&'c [u8]>,
}

fn checked(commit: &Commit) -> Result<Vec<Checked<'_>>, String> {
    let CommitHeader { done, begun, .. } = &commit.header;
    if done.iter().chain(begun).any(|r| r.start >= r.end) {
        return Err("a range of it is empty".to_owned());
    }
    let check = |outcome| {
        let outcome: &EntryOutcome = outcome;
        let error = match outcome.kind() {
            OutcomeKind::Created => None,
            OutcomeKind::Rejected => Some(LoadErrorKind::Rejected),
            OutcomeKind::InDoubt => Some(LoadErrorKind::InDoubt),
            OutcomeKind::Unspecified => return Err("an outcome has no kind".to_owned()),
        };
        let position = outcome.position.ok_or("an outcome has no position")?;
        Ok(Checked {
            outcome,
            position,
            error,
            quarantine: Vec::new(),
        })
    };
    let mut outcomes: Vec<Checked<'_>> = commit
        .outcomes
        .iter()
        .map(check)
        .collect::<Result<_, String>>()?;
    for (index, data) in &commit.quarantine {
        let outcome = outcomes.get_mut(*index).filter(|o| o.error.is_some());
        let none = || format!("there is no rejected outcome {index} to quarantine");
        outcome.ok_or_else(none)?.quarantine.push(data);
    }
    Ok(outcomes)
}

/// A commit whose ranges are all committed is one whose answer got lost.
fn is_repeat(header: &CommitHeader, done: &RangeSet) -> bool {
    let ranges = &header.done;
    !ranges.is_empty() && ranges.iter().all(|r| done.covers(r.start..r.end))
}

/// Where units, which are held, get on: such a unit is not near its end, however often its worker is
/// killed.
async fn mark_done(conn: &mut Conn, marks: &BTreeMap<i64, Mark>) -> Result<(), LedgerError> {
    let columns = [
        ints(marks.keys().copied()),
        texts(marks.values().map(|mark| mark.done.to_string())),
        texts(marks.values().map(|mark| mark.begun.to_string())),
        Column::Flags(marks.values().map(|mark| mark.gets_on).collect()),
        ints(marks.values().map(|mark| mark.source_bytes)),
    ];
    let mut mark = rows("id, done, begun, gets_on, bytes", &columns);
    mark.push(
        "UPDATE load_units AS u SET done_ranges = r.done, begun_ranges = r.begun, \
           attempts = CASE WHEN r.gets_on THEN 1 ELSE u.attempts END, \
           source_bytes = CASE WHEN u.source_bytes > r.bytes THEN u.source_bytes ELSE r.bytes END \
         FROM r WHERE u.unit_id = r.id AND u.state = 'leased'",
    );
    let mark = mark.build().persistent(keep(marks.len()));
    let marked = mark.execute(conn).await?.rows_affected();
    settle::all_rows(marked, marks.len())
}

async fn add_requests(conn: &mut Conn, taken: &[Taken<'_>]) -> Result<(), LedgerError> {
    let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for commit in taken {
        let sum = sums.entry(commit.unit.resource_bundle_load_id).or_default();
        sum.0 += int(commit.header.requests);
        sum.1 += int(commit.header.retries);
    }
    sums.retain(|_, sum| *sum != (0, 0));
    if sums.is_empty() {
        return Ok(());
    }
    let columns = [
        ints(sums.keys().copied()),
        ints(sums.values().map(|(requests, _)| *requests)),
        ints(sums.values().map(|(_, retries)| *retries)),
    ];
    let mut add = rows("id, sent, again", &columns);
    add.push(
        "UPDATE resource_bundle_loads AS l SET requests = l.requests + r.sent, \
           retries = l.retries + r.again \
         FROM r WHERE l.resource_bundle_load_id = r.id",
    );
    let add = add.build().persistent(keep(sums.len()));
    let added = add.execute(conn).await?.rows_affected();
    settle::all_rows(added, sums.len())
}

/// One row a load and type, however many commits count it.
async fn add_counts(conn: &mut Conn, taken: &[Taken<'_>]) -> Result<(), LedgerError> {
    let mut sums = BTreeMap::new();
    for commit in taken {
        for count in &commit.header.counts {
            let key = (
                commit.unit.resource_bundle_load_id,
                name(&count.resource_type),
            );
            add_up(sums.entry(key).or_insert([0; 4]), count);
        }
    }
    let sums: Vec<_> = sums.into_iter().collect();
    for sums in sums.chunks(records::ROWS_AT_ONCE) {
        let number = |at: usize| {
            ints(
                sums.iter()
                    .map(move |(_, n)| n.get(at).copied().unwrap_or(0)),
            )
        };
        let columns = [
            ints(sums.iter().map(|((load, _), _)| *load)),
            texts(sums.iter().map(|((_, name), _)| &**name)),
            number(0),
            number(1),
            number(2),
            number(3),
        ];
        let mut add = rows("id, name, created, updated, rejected, in_doubt", &columns);
        add.push(
            "INSERT INTO load_counts AS c (resource_bundle_load_id, resource_type, created, \
               updated, rejected, in_doubt) \
             SELECT r.id, r.name, r.created, r.updated, r.rejected, r.in_doubt FROM r WHERE TRUE \
             ON CONFLICT (resource_bundle_load_id, resource_type) DO UPDATE SET \
               created = c.created + excluded.created, updated = c.updated + excluded.updated, \
               rejected = c.rejected + excluded.rejected, \
               in_doubt = c.in_doubt + excluded.in_doubt",
        );
        let add = add.build().persistent(keep(sums.len()));
        add.execute(&mut *conn).await?;
    }
    Ok(())
}

fn add_up(sum: &mut [i64; 4], count: &TypeCount) {
    let numbers = [count.created, count.updated, count.rejected, count.in_doubt];
    for (sum, number) in sum.iter_mut().zip(numbers) {
        *sum = sum.saturating_add(int(number));
    }
}
