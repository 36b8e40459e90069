//! Whether the clock can be right, as far as the backups themselves tell.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Held, Rules};

/// Pauses that are not longer than so many usual ones are nothing special.
const USUAL: i32 = 3;

/// Nothing is retired, since the clock may be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Implausible {
    /// A backup is of the future.
    #[error(
        "the clock shows {now}, and backup {newest} was made at {ended}: one of them is wrong, so nothing is \
         deleted; set the clock, or delete that backup by name if it was made while the clock was wrong"
    )]
    Behind {
        /// What the clock shows.
        now: DateTime<Utc>,
        /// The backup.
        newest: String,
        /// When it was whole, by the clock of then.
        ended: DateTime<Utc>,
    },
    /// No backup was made for too long.
    #[error(
        "the newest backup, {newest}, is {} old, and {} would be usual at most: the clock has jumped or no backups are \
         made, so nothing is deleted; set the clock, have a backup made, or raise retention.longest_pause",
        days(*age), days(*longest)
    )]
    Ahead {
        /// The newest backup.
        newest: String,
        /// Its age by the clock.
        age: TimeDelta,
        /// The longest that would be plausible.
        longest: TimeDelta,
    },
    /// The newest backup comes too long after all others.
    #[error(
        "backup {newest} was made {} after the one before, and {} would be usual at most: if the clock was wrong then, \
         delete that backup by name; otherwise the next backup, or a higher retention.longest_pause, settles it; until \
         then nothing is deleted",
        days(*pause), days(*longest)
    )]
    Leapt {
        /// The newest backup.
        newest: String,
        /// How long after the one before it was made.
        pause: TimeDelta,
        /// The longest that would be plausible.
        longest: TimeDelta,
    },
}

/// Takes the newest first.
pub(super) fn check(rules: &Rules, held: &[&Held], now: DateTime<Utc>) -> Result<(), Implausible> {
    let Some(last_made) = held.iter().max_by_key(|backup| backup.ended) else {
        return Ok(());
    };
    if last_made.ended > now || last_made.started > now {
        return Err(Implausible::Behind {
            now,
            newest: last_made.name.clone(),
            ended: last_made.ended,
        });
    }
    let newest = held[0];
    let pauses: Vec<TimeDelta> = held
        .windows(2)
        .map(|pair| pair[0].started - pair[1].started)
        .collect();
    let longest = longest(rules, pauses.get(1..).unwrap_or_default());
    let age = now - newest.started;
    // A first pause that is long may be how often backups are made.
    let pause = pauses.first().copied().unwrap_or_default();
    if pause > longest {
        return Err(Implausible::Leapt {
            newest: newest.name.clone(),
            pause,
            longest,
        });
    }
    if age > longest {
        return Err(Implausible::Ahead {
            newest: newest.name.clone(),
            age,
            longest,
        });
    }
    Ok(())
}

/// The longest pause that is plausible after others, of which the middle one is the usual one.
fn longest(rules: &Rules, before: &[TimeDelta]) -> TimeDelta {
    let set = TimeDelta::from_std(rules.longest_pause).unwrap_or(TimeDelta::MAX);
    let mut before = before.to_vec();
    before.sort();
    let usual = before.get(before.len() / 2).copied().unwrap_or_default();
    set.max(usual.checked_mul(USUAL).unwrap_or(TimeDelta::MAX))
}

fn days(time: TimeDelta) -> String {
    match time.num_days() {
        0 => format!("{} h", time.num_hours()),
        days => format!("{days} days"),
    }
}
