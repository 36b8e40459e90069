//! Time zones: when what a clock on the wall shows is.

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::cron::Cron;

/// The zone that a schedule begins with, and the rest. Fails with what is wrong.
pub(super) fn split(text: &str) -> Result<(Tz, &str), String> {
    let named = text
        .strip_prefix("CRON_TZ=")
        .or_else(|| text.strip_prefix("TZ="));
    let Some(named) = named else {
        return Ok((Tz::UTC, text));
    };
    let (name, rest) = named
        .split_once(char::is_whitespace)
        .ok_or("nothing follows the time zone")?;
    let zone = name
        .parse()
        .map_err(|_| format!("{name} is no time zone such as Africa/Nairobi"))?;
    Ok((zone, rest.trim()))
}

/// The first time that a line means after another.
pub(super) fn next_after(cron: &Cron, zone: Tz, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut offset = offset_at(zone, time);
    let mut base = time;
    let mut shown = time.naive_utc().checked_add_offset(offset)?;
    loop {
        shown = cron.next_after(shown)?;
        let found = shown.checked_sub_offset(offset)?.and_utc();
        if offset_at(zone, found) == offset {
            if !(cron.names_hours() && is_second(zone, shown, found)) {
                return Some(found);
            }
            continue;
        }
        let change = change_between(zone, offset, base, found);
        let new = offset_at(zone, change);
        let before = change.naive_utc().checked_add_offset(offset)?;
        let after = change.naive_utc().checked_add_offset(new)?;
        if cron.names_hours() && (before..after).contains(&shown) {
            return Some(change);
        }
        shown = after.checked_sub_signed(TimeDelta::seconds(1))?;
        (offset, base) = (new, change);
    }
}

fn offset_at(zone: Tz, time: DateTime<Utc>) -> FixedOffset {
    zone.offset_from_utc_datetime(&time.naive_utc()).fix()
}

/// Whether clocks show this time for the second time.
fn is_second(zone: Tz, shown: NaiveDateTime, found: DateTime<Utc>) -> bool {
    match zone.from_local_datetime(&shown) {
        LocalResult::Ambiguous(first, _) => first != found,
        _ => false,
    }
}

/// The first second of another offset than this; it holds at the first of two times, and not at the second.
fn change_between(
    zone: Tz,
    offset: FixedOffset,
    holds: DateTime<Utc>,
    differs: DateTime<Utc>,
) -> DateTime<Utc> {
    let (mut holds, mut differs) = (holds.timestamp(), differs.timestamp());
    let at = |second| DateTime::from_timestamp(second, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
    while differs - holds > 1 {
        let middle = holds.midpoint(differs);
        if offset_at(zone, at(middle)) == offset {
            holds = middle;
        } else {
            differs = middle;
        }
    }
    at(differs)
}
