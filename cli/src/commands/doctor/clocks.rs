//! Whether another machine's clock shows the same time as ours.

use chrono::TimeDelta;

use super::finding::Finding;

/// Leases and signatures bear more; logs that differ by more are hard to read side by side.
const TOLERATED: TimeDelta = TimeDelta::seconds(2);

/// The machine's clock is `ahead` of ours.
pub(super) fn compare(what: &str, ahead: TimeDelta) -> Finding {
    let what = format!("{what} clock");
    let seconds = ahead.as_seconds_f64().abs();
    if ahead.abs() <= TOLERATED {
        return Finding::ok(&what, "shows the same time as this machine's");
    }
    let direction = if ahead > TimeDelta::zero() {
        "ahead of"
    } else {
        "behind"
    };
    Finding::warn(
        &what,
        format!("is {seconds:.0} s {direction} this machine's"),
        "keep both right by NTP",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_is_told_with_its_direction() {
        let text = |ms| serde_json::to_string(&compare("x", TimeDelta::milliseconds(ms))).unwrap();
        assert!(text(-1900).contains(r#""state":"ok""#));
        assert!(text(3_000).contains("is 3 s ahead of"));
        assert!(text(-90_000).contains("is 90 s behind"));
    }
}
