//! Java's `Instant` as text: ISO 8601 in UTC, `2026-05-04T09:15:27.123456Z`, years outside 0000–9999 with a sign.

/// Microseconds from 1970 to 2000, where PostgreSQL's timestamps begin.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// The years that PostgreSQL's timestamps hold: 4713 BC, of which only the end, to 294276.
const YEARS: std::ops::RangeInclusive<i64> = -4711..=294_275;

/// Microseconds since 2000-01-01T00:00:00Z, as PostgreSQL keeps a TIMESTAMP. Digits below a microsecond are
/// cut off. None for another text, and for what PostgreSQL cannot hold.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => (1, text),
    };
    let (year, rest) = digits.split_once('-')?;
    if !(4..=6).contains(&year.len()) {
        return None;
    }
    let year = sign * number(year.as_bytes())?;
    let rest = rest.strip_suffix('Z')?.as_bytes();
    let [
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        n1,
        n2,
        b':',
        s1,
        s2,
        fraction @ ..,
    ] = rest
    else {
        return None;
    };
    let two = |a: u8, b: u8| number(&[a, b]);
    let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
    let (hour, minute, second) = (two(*h1, *h2)?, two(*n1, *n2)?, two(*s1, *s2)?);
    let in_range = YEARS.contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let seconds = days_from_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros(fraction)? - POSTGRES_EPOCH)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum: i64, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

fn micros(fraction: &[u8]) -> Option<i64> {
    let [b'.', digits @ ..] = fraction else {
        return fraction.is_empty().then_some(0);
    };
    if !(1..=9).contains(&digits.len()) {
        return None;
    }
    number(digits)?;
    let mut six = [b'0'; 6];
    for (to, from) in six.iter_mut().zip(digits) {
        *to = *from;
    }
    number(&six)
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// In the proleptic Gregorian calendar, as both Java's `Instant` and PostgreSQL count.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years from March on, so that the leap day is the last of a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat, Utc};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_are_counted_from_2000() {
        assert_eq!(parse("2000-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2000-01-01T00:00:01.5Z"), Some(1_500_000));
        assert_eq!(parse("1999-12-31T23:59:59.999999Z"), Some(-1));
        assert_eq!(
            parse("2000-03-01T00:00:00.000001999Z"),
            Some(60 * 86_400_000_000 + 1)
        );
    }

    #[test]
    fn what_is_no_instant_is_told() {
        for wrong in [
            "",
            "Z",
            "2000",
            "2000-01-01",
            "2000-01-01T00:00:00",
            "2000-13-01T00:00:00Z",
            "2000-02-30T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2000-01-01T24:00:00Z",
            "2000-01-01T00:00:60Z",
            "2000-01-01T00:00:00.Z",
            "2000-01-01T00:00:00.1234567890Z",
            "2000-01-01T00:00:00+01:00",
            "+999999-01-01T00:00:00Z",
            "-9999-01-01T00:00:00Z",
            "20é0-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_is_read_as_chrono_writes_it(
            // From 4712 BC to 262142, the last year chrono knows.
            micros in -210_800_000_000_000_000_i64..8_210_000_000_000_000_000,
        ) {
            let time: DateTime<Utc> = DateTime::from_timestamp_micros(micros).unwrap();
            let text = time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            prop_assert_eq!(parse(&text), Some(micros - POSTGRES_EPOCH), "{}", text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
