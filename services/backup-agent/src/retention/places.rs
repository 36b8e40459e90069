//! The places that backups take: one to a day, a week, a month.

use chrono::{DateTime, Datelike, Utc};

use super::{Held, Period, Place, Rules};

/// The places that are taken when only these, the newest first, may take them.
pub(super) fn of(rules: &Rules, held: &[&Held], candidates: &[usize]) -> Vec<(usize, Place)> {
    let periods = [
        (Period::Day, rules.daily),
        (Period::Week, rules.weekly),
        (Period::Month, rules.monthly),
    ];
    let mut taken = Vec::new();
    for (period, places) in periods {
        let mut last = None;
        let mut number = 0;
        for candidate in candidates {
            let of = which(period, held[*candidate].started);
            if last == Some(of) {
                continue;
            }
            if number == places {
                break;
            }
            last = Some(of);
            number += 1;
            let of = places;
            taken.push((*candidate, Place { period, number, of }));
        }
    }
    taken
}

/// A number that all times of the same period have, and no others.
fn which(period: Period, time: DateTime<Utc>) -> (i32, u32) {
    let date = time.date_naive();
    match period {
        Period::Day => (date.year(), date.ordinal()),
        Period::Week => (date.iso_week().year(), date.iso_week().week()),
        Period::Month => (date.year(), date.month()),
    }
}
