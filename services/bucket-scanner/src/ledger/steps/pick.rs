//! Which units a worker is given: wave by wave, of the types and places that it takes.

use std::collections::BTreeSet;

use chrono::NaiveDateTime;
use sqlx::FromRow;
use sqlx::query::QueryAs;
use stoker_proto::ledger::v1::{BucketPath, LeaseUnitsRequest, UnitLimit};
use stoker_shared::store::rows::texts;

use super::work::LeasableJob;
use super::{Conn, Db, KEEP_STATEMENTS, LedgerError, rows, settle, waves};
use crate::ledger::MAX_ATTEMPTS;
use crate::ledger::text::{FILE_TYPES, Spelled, clean, nat32};

/// What is still wanted of a call.
#[derive(Debug)]
pub(super) struct Wanted {
    left: i64,
    types: [Type; TYPES],
    /// Of `bucket_path_id`.
    paths: Vec<(i64, i64)>,
    /// A JSON array of unit ids.
    held: String,
    pub(super) only_expired: bool,
    /// Jobs and waves of units that were given up on the way.
    pub(super) given_up: BTreeSet<(i64, i64)>,
}

const TYPES: usize = FILE_TYPES.len();

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
            only_expired: request.only_expired,
            given_up: BTreeSet::new(),
        })
    }

    pub(super) fn is_met(&self) -> bool {
        self.left <= 0
    }

    /// Units of this type were found.
    fn had<'t>(&mut self, file_types: impl Iterator<Item = &'t str>) {
        for file_type in file_types {
            self.left -= 1;
            let of = self.types.iter_mut().find(|of| of.spelled == file_type);
            if let Some(of) = of {
                of.left -= 1;
            }
        }
    }
}

/// Without limits as many of each as there is room for in all.
fn types(left: i64, limits: &[UnitLimit]) -> Result<[Type; TYPES], LedgerError> {
    let left = if limits.is_empty() { left } else { 0 };
    let mut types = FILE_TYPES.map(|(_, spelled)| Type { spelled, left });
    for limit in limits {
        let spelled = limit.file_type().spell()?;
        if let Some(of) = types.iter_mut().find(|of| of.spelled == spelled) {
            of.left += i64::from(limit.max_units);
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
    let mut wave = (!wanted.only_expired).then_some(first);
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

/// Such units of a job, of all types, of one place after the other.
async fn some(
    conn: &mut Conn,
    now: NaiveDateTime,
    (job_id, which): (i64, Which),
    wanted: &mut Wanted,
    picked: &mut Vec<i64>,
) -> Result<(), LedgerError> {
    for place in 0..wanted.paths.len() {
        let Some(part) = wanted.part(place) else {
            continue;
        };
        let units = match which {
            Which::Expired(wave) => {
                let units = expired(conn, now, (job_id, wave), &part, &wanted.held).await?;
                with_attempts_left(conn, now, job_id, units, &mut wanted.given_up).await?
            }
            Which::Open(wave) => open(conn, now, (job_id, wave), &part).await?,
        };
        wanted.had(units.iter().map(|(_, file_type)| file_type.as_str()));
        picked.extend(units.into_iter().map(|(unit_id, _)| unit_id));
    }
    Ok(())
}

macro_rules! units_of {
    ($columns:literal, $file_type:literal, $condition:expr, $order:literal, $room:literal) => {
        concat!(
            "SELECT * FROM (SELECT ",
            $columns,
            " FROM load_units WHERE job_id = $1 AND file_type = ",
            $file_type,
            " AND bucket_path_id BETWEEN $4 AND $5 AND ",
            $condition,
            " ORDER BY ",
            $order,
            " LIMIT ",
            $room,
            skip_locked!(),
            ") AS units"
        )
    };
}

/// Of both types in one round trip; of the second only when the first leaves room.
macro_rules! units_where {
    ($columns:literal, $condition:expr, $order:literal) => {
        concat!(
            units_of!($columns, "$6", $condition, $order, "$8"),
            " UNION ALL ",
            units_of!($columns, "$7", $condition, $order, "$9"),
            " LIMIT $10"
        )
    };
}

/// Binds what follows the job, the time and the wave.
fn of_part<'q, O>(find: Find<'q, O>, part: &Part<'_>) -> Find<'q, O> {
    let [first, second] = part.types;
    let find = find.bind(part.path.0).bind(part.path.1);
    let find = find.bind(first.spelled).bind(second.spelled);
    find.bind(first.left).bind(second.left).bind(part.room)
}

type Find<'q, O> = QueryAs<'q, Db, O, <Db as sqlx::Database>::Arguments>;

/// An expired unit.
#[derive(Debug, FromRow)]
struct Expired {
    unit_id: i64,
    file_type: String,
    wave: i64,
    attempts: i64,
    /// The last one.
    reason: String,
}

async fn expired(
    conn: &mut Conn,
    now: NaiveDateTime,
    (job_id, last_wave): (i64, i64),
    part: &Part<'_>,
    held: &str,
) -> Result<Vec<Expired>, LedgerError> {
    let find = sqlx::query_as(units_where!(
        "unit_id, file_type, wave, attempts, reason",
        concat!(
            "state = 'leased' AND lease_expiry <= $2 AND wave <= $3 AND unit_id NOT IN (",
            numbers_in!("$11"),
            ")"
        ),
        "lease_expiry"
    ));
    let find = find.bind(job_id).bind(now).bind(last_wave);
    let find = of_part(find, part).bind(held);
    Ok(find.fetch_all(conn).await?)
}

/// Such a unit is held by nobody, whatever a worker believed when it asked.
async fn open(
    conn: &mut Conn,
    now: NaiveDateTime,
    (job_id, wave): (i64, i64),
    part: &Part<'_>,
) -> Result<Vec<(i64, String)>, LedgerError> {
    let find = sqlx::query_as(units_where!(
        "unit_id, file_type",
        "state = 'open' AND not_before <= $2 AND wave = $3",
        "not_before, unit_id"
    ));
    let find = find.bind(job_id).bind(now).bind(wave);
    Ok(of_part(find, part).fetch_all(conn).await?)
}

/// Units with attempts left; others are set aside with their last reason.
async fn with_attempts_left(
    conn: &mut Conn,
    now: NaiveDateTime,
    job_id: i64,
    units: Vec<Expired>,
    given_up: &mut BTreeSet<(i64, i64)>,
) -> Result<Vec<(i64, String)>, LedgerError> {
    let mut left = Vec::with_capacity(units.len());
    for unit in units {
        if nat32(unit.attempts) < MAX_ATTEMPTS {
            left.push((unit.unit_id, unit.file_type));
        } else {
            settle::give_up(conn, now, unit.unit_id, &unit.reason).await?;
            given_up.insert((job_id, unit.wave));
        }
    }
    Ok(left)
}

/// What one statement asks for.
struct Part<'w> {
    types: &'w [Type; TYPES],
    path: (i64, i64),
    /// Of all types together.
    room: i64,
}

impl Wanted {
    /// None when there is no room for more.
    fn part(&self, place: usize) -> Option<Part<'_>> {
        let room_for = |of: &Type| of.left > 0;
        if self.is_met() || !self.types.iter().any(room_for) {
            return None;
        }
        Some(Part {
            types: &self.types,
            path: *self.paths.get(place)?,
            room: self.left,
        })
    }
}

#[cfg(test)]
mod tests {
    use stoker_proto::common::v1::FileType;

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
        assert_eq!(
            found.map(|of| (of.spelled, of.left)),
            [("JSON", 3), ("NDJSON", 0)]
        );
        let all = types(10, &[]).unwrap();
        assert_eq!(
            all.map(|of| (of.spelled, of.left)),
            [("JSON", 10), ("NDJSON", 10)]
        );
        assert!(types(10, &[limit(FileType::Unspecified, 1)]).is_err());
    }
}
