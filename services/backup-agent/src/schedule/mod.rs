//! When backups are made: cron and intervals, what is due after downtime, and when a run starts and must be over.
//!
//! All of it is pure. What was due last is kept in the catalog and handed in, so that the machine's downtime, a new
//! release every day or another agent changes nothing: a run that was missed is caught up once, however many were missed.

use std::fmt::{self, Display};
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

mod cron;
mod every;
mod field;
pub mod ofelia;
#[cfg(test)]
mod tests;
mod timing;
mod zone;

use cron::Cron;
pub use timing::{Next, Timing};

/// When something is to be done, again and again.
///
/// - `MINUTE HOUR DAY MONTH WEEKDAY`, or `SECOND MINUTE HOUR DAY MONTH WEEKDAY`: each `*`, `?` (the same), a number, a
///   range `A-B`, either with `/STEP`, or several with commas between; `A/STEP` goes on to the end; months and weekdays
///   also as `JAN`…, `SUN`…; Sunday is 0 or 7. Where both days are given, either will do.
/// - `@yearly`, `@annually`, `@monthly`, `@weekly` (Sunday), `@daily`, `@midnight`, `@hourly`.
/// - `@every 1h30m`: so long after what was due last.
///
/// `CRON_TZ=ZONE ` or `TZ=ZONE ` before it names a time zone of the IANA's list; UTC without. A time that the zone
/// leaves out when clocks go forward comes when they do; one that it has twice comes the first time. Where the hour is
/// given by `*`, each time that there is comes.
///
/// These are the forms of <https://pkg.go.dev/github.com/robfig/cron/v3>, which leaves out what the zone leaves out and
/// does twice what it has twice, and knows no Sunday 7.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    text: String,
    zone: Tz,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Cron(Cron),
    Every(TimeDelta),
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no schedule: {reason}; give `MINUTE HOUR DAY MONTH WEEKDAY` such as `30 2 * * *`, with a field of \
     seconds before it if need be, or @daily, @hourly, @weekly, @monthly, @every 24h"
)]
pub struct BadSchedule {
    /// As given.
    pub text: String,
    /// What is wrong.
    pub reason: String,
}

impl Schedule {
    /// The first time after another; none where there is none within the times that can be shown. An interval counts
    /// from the time that is given.
    pub fn next_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match &self.kind {
            Kind::Cron(cron) => zone::next_after(cron, self.zone, time),
            Kind::Every(interval) => time.checked_add_signed(*interval),
        }
    }

    /// The last time after one that is not after another; none where there is none.
    pub fn last_between(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let first = self.next_after(after).filter(|first| *first <= until)?;
        let Kind::Cron(_) = &self.kind else {
            return every::last(first, first - after, until);
        };
        // Not through all that were missed: a year has many minutes.
        for window in [60, 3_600, 86_400, 32 * 86_400, 367 * 86_400] {
            let start = until - TimeDelta::seconds(window);
            if start <= first {
                break;
            }
            if let Some(last) = self.walk(start, until) {
                return Some(last);
            }
        }
        self.walk(first, until).or(Some(first))
    }

    fn walk(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut last = None;
        let mut at = after;
        while let Some(next) = self.next_after(at).filter(|next| *next <= until) {
            (at, last) = (next, Some(next));
        }
        last
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let bad = |reason: String| BadSchedule {
            text: text.to_owned(),
            reason,
        };
        let (zone, rest) = zone::split(text.trim()).map_err(bad)?;
        let kind = match rest.strip_prefix("@every ") {
            Some(interval) => Kind::Every(every::read(interval.trim()).map_err(bad)?),
            None => Kind::Cron(Cron::read(rest).map_err(bad)?),
        };
        let read = Self {
            text: text.trim().to_owned(),
            zone,
            kind,
        };
        let comes = read.next_after(DateTime::UNIX_EPOCH).is_some();
        comes
            .then_some(read)
            .ok_or_else(|| bad("no such day ever comes".to_owned()))
    }
}

impl Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Schedule {
    type Error = BadSchedule;

    fn try_from(text: String) -> Result<Self, BadSchedule> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.text
    }
}
