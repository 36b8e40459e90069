//! What is known of the Java fhir-bucket, whose tables a ledger may begin with.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

/// How its tables are found and taken over, where a database can hold them.
#[derive(Debug)]
pub(super) struct JavaScripts {
    /// Asks how many of its columns are not there.
    pub(super) missing: &'static str,
    /// Asks for a table of its that the user does not own.
    pub(super) not_owned: &'static str,
    /// Locks its tables and gives them other names.
    pub(super) set_aside: &'static str,
    /// Brings their rows into the ledger's tables of version 1, and drops them.
    pub(super) take_over: &'static str,
}

/// The one version its schema has.
pub(super) const JAVA_VERSION: i64 = 1;
/// The source that adopted objects hang on until a job finds them.
pub(super) const ADOPTED: &str = "adopted:";

/// A silent instance counts as dead after so long.
const SILENCE: TimeDelta = TimeDelta::seconds(60);
/// How far two clocks may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(5);
/// Every time zone is some times so far from UTC …
const ZONES_APART: TimeDelta = TimeDelta::minutes(15);
/// … and none is further.
const FURTHEST_ZONE: TimeDelta = TimeDelta::hours(14);

/// Whether an instance that gave its last sign then may be alive. It writes times of a zone that is not
/// known: one that has been dead for just some quarters of an hour looks alive, for a minute.
pub(super) fn may_live(now: NaiveDateTime, heartbeat: NaiveDateTime) -> bool {
    let age = now - heartbeat + CLOCKS_APART;
    let beyond_zone = age.num_seconds().rem_euclid(ZONES_APART.num_seconds());
    age.abs() <= FURTHEST_ZONE + SILENCE && beyond_zone < (SILENCE + CLOCKS_APART).num_seconds()
}

/// Whether a time that it wrote, to the millisecond and in a zone that is not known, can be this one.
pub(super) fn may_be_same(written: NaiveDateTime, time: DateTime<Utc>) -> bool {
    let apart = written.and_utc().timestamp_millis() - time.timestamp_millis();
    apart % ZONES_APART.num_milliseconds() == 0 && apart.abs() <= FURTHEST_ZONE.num_milliseconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn a_sign_of_life_is_known_in_every_zone() {
        let now = at("2024-03-10T12:00:00");
        for alive in [
            "2024-03-10T12:00:00",
            "2024-03-10T12:00:04",
            "2024-03-10T11:59:01",
            "2024-03-10T06:59:30",
            "2024-03-10T17:44:30",
            "2024-03-11T01:59:59",
        ] {
            assert!(may_live(now, at(alive)), "{alive}");
        }
        for dead in [
            "2024-03-10T11:59:00",
            "2024-03-10T11:50:00",
            "2024-03-10T12:00:06",
            "2024-03-10T17:40:00",
            "2024-03-09T20:00:00",
            "2023-03-10T12:00:00",
        ] {
            assert!(!may_live(now, at(dead)), "{dead}");
        }
    }

    #[test]
    fn a_time_of_another_zone_is_the_same() {
        let time = at("2024-03-10T12:00:00.123456").and_utc();
        for same in [
            "2024-03-10T12:00:00.123",
            "2024-03-10T06:15:00.123",
            "2024-03-11T02:00:00.123",
            "2024-03-10T17:45:00.123",
        ] {
            assert!(may_be_same(at(same), time), "{same}");
        }
        for other in [
            "2024-03-10T12:00:00.124",
            "2024-03-10T12:00:01.123",
            "2024-03-10T12:05:00.123",
            "2024-03-11T02:15:00.123",
            "2024-03-09T12:00:00.123",
        ] {
            assert!(!may_be_same(at(other), time), "{other}");
        }
    }
}
