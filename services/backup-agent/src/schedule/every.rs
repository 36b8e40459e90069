//! Intervals, as Go spells them.

use chrono::{DateTime, TimeDelta, Utc};

/// Reads `1h30m`, `90s`, `1.5h`; fails with what is wrong. Shorter ones than a second are refused, fractions of one cut
/// off. <https://pkg.go.dev/time#ParseDuration>
pub(super) fn read(text: &str) -> Result<TimeDelta, String> {
    let bad = || format!("{text:?} is no length of time such as 24h or 1h30m");
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        seconds += number * unit(&rest[..letters]).ok_or_else(bad)?;
        rest = &rest[letters..];
    }
    // A hundred years in seconds.
    if !(1.0..3.2e9).contains(&seconds) {
        return Err(format!(
            "{text:?} is shorter than a second or longer than a century"
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut off, and within the range above"
    )]
    Ok(TimeDelta::seconds(seconds as i64))
}

fn unit(letters: &str) -> Option<f64> {
    match letters {
        "h" => Some(3600.0),
        "m" => Some(60.0),
        "s" => Some(1.0),
        "ms" => Some(1e-3),
        "us" | "µs" => Some(1e-6),
        "ns" => Some(1e-9),
        _ => None,
    }
}

/// Of times that follow the first one at an interval, the last that is not after another.
pub(super) fn last(
    first: DateTime<Utc>,
    interval: TimeDelta,
    until: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let seconds = interval.num_seconds().max(1);
    let passed = (until - first).num_seconds() / seconds * seconds;
    first.checked_add_signed(TimeDelta::seconds(passed))
}
