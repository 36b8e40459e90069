//! Which units a worker is given: wave by wave, of the types and places that it takes.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use sqlx::FromRow;
use stoker_proto::common::v1::FileType;
use stoker_proto::ledger::v1::{BucketPath, LeaseUnitsRequest, UnitLimit};
use stoker_shared::store::rows::texts;

use super::work::LeasableJob;
use super::{Conn, KEEP_STATEMENTS, LedgerError, rows, settle, waves};
use crate::ledger::MAX_ATTEMPTS;
use crate::ledger::text::{Spelled, clean, nat32};

/// What is still wanted of a call.
#[derive(Debug)]
pub(super) struct Wanted {
    left: i64,
    types: Vec<Type>,
    /// Of `bucket_path_id`.
    paths: Vec<(i64, i64)>,
    /// A JSON array of unit ids.
    held: String,
    /// Jobs and waves of units that were given up on the way.
    pub(super) given_up: BTreeSet<(i64, i64)>,
}

/// Units of one file type, as many as there is room for.
#[derive(Debug)]
struct Type {
    spelled: &'static str,
    left: i64,
}

impl Wanted {
    pub(super) async fn by(
        conn: &mut Conn,
        request: &LeaseUnitsRequest,
    ) -> Result<Self, LedgerError> {
        let left = i64::from(request.max_units);
        let paths = if request.bucket_paths.is_empty() {
            vec![(i64::MIN, i64::MAX)]
        } else {
            path_ids(conn, &request.bucket_paths).await?
        };
        Ok(Self {
            left,
            types: types(left, &request.limits)?,
            paths,
            held: json(&request.held_unit_ids),
            given_up: BTreeSet::new(),
        })
    }

    pub(super) fn is_met(&self) -> bool {
        self.left <= 0
    }

    fn had(&mut self, place: usize, units: usize) {
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        self.left -= units;
        if let Some(of) = self.types.get_mut(place) {
            of.left -= units;
        }
    }
}

/// Each type once; without limits all there are.
fn types(left: i64, limits: &[UnitLimit]) -> Result<Vec<Type>, LedgerError> {
    if limits.is_empty() {
        let all = FileType::ALL.iter();
        return Ok(all.map(|(_, spelled)| Type { spelled, left }).collect());
    }
    let mut types: Vec<Type> = Vec::new();
    for limit in limits {
        let (spelled, more) = (limit.file_type().spell()?, i64::from(limit.max_units));
        match types.iter_mut().find(|of| of.spelled == spelled) {
            Some(of) => of.left += more,
            None => types.push(Type {
                spelled,
                left: more,
            }),
        }
    }
    Ok(types)
}

/// Each as a range that holds it alone. Paths that no object has are left out.
async fn path_ids(conn: &mut Conn, paths: &[BucketPath]) -> Result<Vec<(i64, i64)>, LedgerError> {
    let columns = [
        texts(paths.iter().map(|path| clean(&path.bucket_name))),
        texts(paths.iter().map(|path| clean(&path.bucket_path))),
    ];
    let mut find = rows("bucket, path", &columns);
    find.push(
        "SELECT DISTINCT p.bucket_path_id FROM r JOIN bucket_paths p \
         ON p.bucket_name = r.bucket AND p.bucket_path = r.path",
    );
    let found: Vec<i64> = find
        .build_query_scalar()
        .persistent(KEEP_STATEMENTS)
        .fetch_all(conn)
        .await?;
    Ok(found.into_iter().map(|id| (id, id)).collect())
}

fn json(numbers: &[i64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// Units of a job to lease: expired ones first, or they would wait for all open ones.
pub(super) async fn pick(
    conn: &mut Conn,
    now: NaiveDateTime,
    job: &LeasableJob,
    wanted: &mut Wanted,
) -> Result<Vec<i64>, LedgerError> {
    let mut picked = Vec::new();
    let Some(first) = job.first_wave() else {
        return Ok(picked);
    };
    if !(job.unordered || first == 0 || job.listed) {
        return Ok(picked);
    }
    let job_id = job.job_id;
    if job.has_expired(now) {
        let last_wave = if job.unordered { i64::MAX } else { first };
        some(
            conn,
            now,
            (job_id, Which::Expired(last_wave)),
            wanted,
            &mut picked,
        )
        .await?;
    }
    let mut wave = Some(first);
    while let Some(this) = wave.filter(|_| !wanted.is_met()) {
        some(conn, now, (job_id, Which::Open(this)), wanted, &mut picked).await?;
        wave = if job.unordered {
            waves::next(conn, job_id, this).await?
        } else {
            None
        };
    }
    Ok(picked)
}

#[derive(Debug, Clone, Copy)]
enum Which {
    /// Whose lease has run out, up to this wave.
    Expired(i64),
    /// Of this wave.
    Open(i64),
}

/// Such units of a job, of all types and places in turn.
async fn some(
    conn: &mut Conn,
    now: NaiveDateTime,
    (job_id, which): (i64, Which),
    wanted: &mut Wanted,
    picked: &mut Vec<i64>,
) -> Result<(), LedgerError> {
    for place in 0..wanted.types.len() {
        for path in 0..wanted.paths.len() {
            let Some(part) = wanted.part(place, path) else {
                continue;
            };
            let units = match which {
                Which::Expired(wave) => {
                    let units = expired(conn, now, (job_id, wave), &part, &wanted.held).await?;
                    with_attempts_left(conn, now, job_id, units, &mut wanted.given_up).await?
                }
                Which::Open(wave) => open(conn, now, (job_id, wave), &part).await?,
            };
            wanted.had(place, units.len());
            picked.extend(units);
        }
    }
    Ok(())
}

macro_rules! units_where {
    ($columns:literal, $condition:expr, $order:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM load_units WHERE job_id = $1 AND file_type = $4 \
               AND bucket_path_id BETWEEN $5 AND $6 AND ",
            $condition,
            " ORDER BY ",
            $order,
            " LIMIT $7",
            skip_locked!()
        )
    };
}

/// An expired unit.
#[derive(Debug, FromRow)]
struct Expired {
    unit_id: i64,
    wave: i64,
    attempts: i64,
    /// The last one.
    reason: String,
}

async fn expired(
    conn: &mut Conn,
    now: NaiveDateTime,
    (job_id, last_wave): (i64, i64),
    part: &Part,
    held: &str,
) -> Result<Vec<Expired>, LedgerError> {
    let find = sqlx::query_as(units_where!(
        "unit_id, wave, attempts, reason",
        concat!(
            "state = 'leased' AND lease_expiry <= $2 AND wave <= $3 AND unit_id NOT IN (",
            numbers_in!("$8"),
            ")"
        ),
        "lease_expiry"
    ));
    let find = find.bind(job_id).bind(now).bind(last_wave);
    let find = find
        .bind(part.file_type)
        .bind(part.path.0)
        .bind(part.path.1);
    Ok(find.bind(part.room).bind(held).fetch_all(conn).await?)
}

/// Such a unit is held by nobody, whatever a worker believed when it asked.
async fn open(
    conn: &mut Conn,
    now: NaiveDateTime,
    (job_id, wave): (i64, i64),
    part: &Part,
) -> Result<Vec<i64>, LedgerError> {
    let find = sqlx::query_scalar(units_where!(
        "unit_id",
        "state = 'open' AND not_before <= $2 AND wave = $3",
        "not_before, unit_id"
    ));
    let find = find.bind(job_id).bind(now).bind(wave);
    let find = find
        .bind(part.file_type)
        .bind(part.path.0)
        .bind(part.path.1);
    Ok(find.bind(part.room).fetch_all(conn).await?)
}

/// Units with attempts left; others are set aside with their last reason.
async fn with_attempts_left(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    units: Vec<Expired>,
    given_up: &mut BTreeSet<(i64, i64)>,
) -> Result<Vec<i64>, LedgerError> {
    let mut left = Vec::with_capacity(units.len());
    for unit in units {
        if nat32(unit.attempts) < MAX_ATTEMPTS {
            left.push(unit.unit_id);
        } else {
            settle::give_up(conn, now, unit.unit_id, &unit.reason).await?;
            given_up.insert((job_id, unit.wave));
        }
    }
    Ok(left)
}

/// What one statement asks for.
struct Part {
    file_type: &'static str,
    path: (i64, i64),
    room: i64,
}

impl Wanted {
    /// None when there is no room for more of it.
    fn part(&self, place: usize, path: usize) -> Option<Part> {
        let of = self.types.get(place)?;
        let room = of.left.min(self.left);
        let part = Part {
            file_type: of.spelled,
            path: *self.paths.get(path)?,
            room,
        };
        (room > 0).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_type_add_up() {
        let limit = |file_type: FileType, max_units| UnitLimit {
            file_type: file_type.into(),
            max_units,
        };
        let limits = [
            limit(FileType::Json, 2),
            limit(FileType::Ndjson, 0),
            limit(FileType::Json, 1),
        ];
        let found = types(10, &limits).unwrap();
        let found: Vec<_> = found.iter().map(|of| (of.spelled, of.left)).collect();
        assert_eq!(found, [("JSON", 3), ("NDJSON", 0)]);
        assert_eq!(types(10, &[]).unwrap().len(), 2);
        assert!(types(10, &[limit(FileType::Unspecified, 1)]).is_err());
    }
}
