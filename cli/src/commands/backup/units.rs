//! Sizes and times as people read them, and times as machines do.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use indicatif::HumanBytes;
use prost_types::Timestamp;
use stoker_shared::clock::{Clock as _, SystemClock};

const NEVER: &str = "-";

/// Such as `1.50 GiB`.
pub(super) fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

pub(super) fn time(time: Timestamp) -> DateTime<Utc> {
    let time = DateTime::from_timestamp(time.seconds, time.nanos.unsigned_abs());
    time.unwrap_or_default()
}

/// For machines, and where it matters to a person.
pub(super) fn exact(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| time(at).to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Such as `2026-01-31 12:00:00`.
pub(super) fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(
        || NEVER.to_owned(),
        |at| time(at).format("%F %T").to_string(),
    )
}

/// How long ago, such as `3h`; ahead of now, `in 3h`.
pub(super) fn ago(at: Option<Timestamp>) -> String {
    let Some(at) = at else {
        return NEVER.to_owned();
    };
    let past = SystemClock.now() - time(at);
    match past.to_std() {
        Ok(past) => rough(past),
        Err(_) => format!("in {}", rough((-past).to_std().unwrap_or_default())),
    }
}

/// One number is enough for a list.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= 2 * length {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// From one time to another, or to now.
pub(super) fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> TimeDelta {
    let (Some(from), to) = (from, to.map_or_else(|| SystemClock.now(), time)) else {
        return TimeDelta::zero();
    };
    (to - time(from)).max(TimeDelta::zero())
}

/// Such as `14.2s`, `3m 5s`.
pub(super) fn length(time: TimeDelta) -> String {
    let time = time.to_std().unwrap_or_default();
    if time < Duration::from_mins(1) {
        return format!("{:.1}s", time.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

/// A length of time as the contract has it.
pub(super) fn recovery(time: Option<prost_types::Duration>) -> TimeDelta {
    let time = time.unwrap_or_default();
    TimeDelta::new(time.seconds, time.nanos.unsigned_abs()).unwrap_or_default()
}

/// Bytes in a second, over a time that is not nothing.
pub(super) fn rate(bytes: u64, time: TimeDelta) -> String {
    let millis = u64::try_from(time.num_milliseconds())
        .unwrap_or_default()
        .max(1);
    let each_second = u128::from(bytes) * 1000 / u128::from(millis);
    let each_second = u64::try_from(each_second).unwrap_or(u64::MAX);
    format!("{}/s", size(each_second))
}

/// What was read, as a line of a summary; nothing where that is not known.
pub(super) fn read(bytes: u64, time: TimeDelta) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!("read        {}, {}\n", size(bytes), rate(bytes, time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rough_in_lists_and_exact_elsewhere() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_199, "119m"),
            (7_200, "2h"),
            (172_800, "2d"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(length(TimeDelta::milliseconds(14_210)), "14.2s");
        assert_eq!(length(TimeDelta::seconds(185)), "3m 5s");
        assert_eq!(ago(None), "-");
        assert_eq!(rate(3 << 20, TimeDelta::seconds(2)), "1.50 MiB/s");
        let at = Timestamp {
            seconds: 1_769_860_800,
            nanos: 0,
        };
        assert_eq!(moment(Some(at)), "2026-01-31 12:00:00");
        assert_eq!(exact(Some(at)).unwrap(), "2026-01-31T12:00:00.000Z");
    }
}
