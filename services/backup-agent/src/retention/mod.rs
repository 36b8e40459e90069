//! Which backups stay and which go: grandfather, father, son, of what is known to be good.
//!
//! [`plan`] is pure: it deletes nothing, and says of each backup why. Whatever the rules say, three things hold:
//!
//! - Only backups that were verified take a place. One that was not is kept as long as it would have had a place, but
//!   drives no verified one out of its own.
//! - The last proven backup stays, and so does whatever a backup that stays needs.
//! - Days, weeks and months are counted by the backups that there are, and ages from the newest one: time that passes
//!   without a backup retires none. A clock that cannot be right retires none either ([`Implausible`]).

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

mod chains;
mod clock;
#[cfg(test)]
mod histories;
mod places;
mod rules;
#[cfg(test)]
mod tests;
mod why;

use crate::manifest::Manifest;

use chains::Chains;
pub use clock::Implausible;
pub use rules::Rules;
pub use why::{Goes, Period, Place, Stays};

/// What matters of a backup here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// When it was begun: the day, week and month it is of.
    pub started: DateTime<Utc>,
    /// When it was whole.
    pub ended: DateTime<Utc>,
    /// It was read back and is as it was written.
    pub verified: bool,
    /// Whether its last restore for proof went well; none where it was never restored. One that was found damaged is
    /// refuted as well.
    pub proof: Option<bool>,
    /// The backup it needs.
    pub parent: Option<String>,
}

impl From<&Manifest> for Held {
    fn from(manifest: &Manifest) -> Self {
        let verified = manifest.verified.as_ref().map(|verified| verified.good);
        let proof = manifest.proof.as_ref().map(|proof| proof.good);
        let damaged = verified == Some(false);
        Self {
            name: manifest.name.clone(),
            started: manifest.started,
            ended: manifest.ended,
            verified: verified == Some(true),
            proof: if damaged { Some(false) } else { proof },
            parent: manifest.parent.clone(),
        }
    }
}

/// What is to become of the backups of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// All of them, the newest first.
    pub backups: Vec<Decision>,
    /// Names of those that go, in the order to delete them in: what needs another before that other, and otherwise the
    /// oldest first. Stopped anywhere, none is left without what it needs.
    pub deletions: Vec<String>,
}

/// What is to become of a backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Its name.
    pub name: String,
    /// When it was begun.
    pub started: DateTime<Utc>,
    /// What is to become of it.
    pub verdict: Verdict,
}

/// Whether a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// For all of these reasons; there is one at least.
    Stays(Vec<Stays>),
    /// For this one.
    Goes(Goes),
}

/// Decides over all backups of one source. Fails, so that nothing goes, with [`Implausible`] where the clock cannot be
/// right.
pub fn plan(rules: &Rules, held: &[Held], now: DateTime<Utc>) -> Result<Plan, Implausible> {
    let mut held: Vec<&Held> = held.iter().collect();
    held.sort_by(|a, b| (b.started, &b.name).cmp(&(a.started, &a.name)));
    clock::check(rules, &held, now)?;
    let chains = Chains::of(&held);
    let mut stays = BTreeMap::new();
    let good = good(&held, &chains);
    give_places(rules, &held, &chains, &good, &mut stays);
    keep_at_least(rules, &held, &good, &mut stays);
    keep_needed(&held, &chains, &mut stays);
    let verdict = |number: usize| match stays.get(&number) {
        Some(why) => Verdict::Stays(why.clone()),
        None => Verdict::Goes(goes(&held, &chains, number)),
    };
    let decision = |(number, backup): (usize, &&Held)| Decision {
        name: backup.name.clone(),
        started: backup.started,
        verdict: verdict(number),
    };
    let mut deletions: Vec<usize> = (0..held.len()).rev().collect();
    deletions.retain(|number| !stays.contains_key(number));
    deletions.sort_by_key(|number| std::cmp::Reverse(chains.depth(*number)));
    let name = |number: usize| held[number].name.clone();
    Ok(Plan {
        backups: held.iter().enumerate().map(decision).collect(),
        deletions: deletions.into_iter().map(name).collect(),
    })
}

/// Why backups stay, by their numbers.
type Reasons = BTreeMap<usize, Vec<Stays>>;

fn keep(stays: &mut Reasons, number: usize, why: Stays) {
    stays.entry(number).or_default().push(why);
}

/// Those that may take places, the newest first: verified, not refuted, with all they need.
fn good(held: &[&Held], chains: &Chains) -> Vec<usize> {
    let is_good = |number: usize| held[number].verified && held[number].proof != Some(false);
    let all_good = |number: &usize| {
        chains
            .needed(*number)
            .is_some_and(|mut all| all.all(is_good))
    };
    (0..held.len())
        .filter(|number| is_good(*number))
        .filter(all_good)
        .collect()
}

fn give_places(
    rules: &Rules,
    held: &[&Held],
    chains: &Chains,
    good: &[usize],
    stays: &mut Reasons,
) {
    for (number, place) in places::of(rules, held, good) {
        keep(stays, number, Stays::Place(place));
    }
    let is_refuted = |number: usize| held[number].proof == Some(false);
    let is_unknown = |number: usize| {
        let needed = chains.needed(number);
        !is_refuted(number) && needed.is_some_and(|mut all| !all.any(is_refuted))
    };
    let may_be_good = (0..held.len()).filter(|number| is_unknown(*number));
    let may_be_good: Vec<usize> = may_be_good.collect();
    for (number, place) in places::of(rules, held, &may_be_good) {
        if !good.contains(&number) {
            keep(stays, number, Stays::Awaited(place));
        }
    }
}

/// What stays whatever has a place.
fn keep_at_least(rules: &Rules, held: &[&Held], good: &[usize], stays: &mut Reasons) {
    let Some(newest_good) = good.first().copied() else {
        // Whatever there is may be needed.
        return (0..held.len()).for_each(|number| keep(stays, number, Stays::NoneIsGood));
    };
    // Numbers rise with age.
    for number in 0..newest_good {
        keep(stays, number, Stays::NewerThanGood);
    }
    let within = TimeDelta::from_std(rules.keep_within).unwrap_or(TimeDelta::MAX);
    for number in newest_good..held.len() {
        if held[newest_good].started - held[number].started < within {
            keep(stays, number, Stays::Within);
        }
    }
    for number in good.iter().take(rules.minimum()) {
        keep(stays, *number, Stays::Minimum);
    }
    keep_last_proven(held, good, stays);
}

/// The newest that was proven, and the newest of these that is good as far as is known today.
fn keep_last_proven(held: &[&Held], good: &[usize], stays: &mut Reasons) {
    let proven = |number: &usize| held[*number].proof == Some(true);
    let last = (0..held.len()).find(proven);
    let last_good = good.iter().copied().find(proven);
    if let Some(number) = last {
        keep(stays, number, Stays::LastProven);
    }
    if let Some(number) = last_good.filter(|_| last_good != last) {
        keep(stays, number, Stays::LastProven);
    }
}

fn keep_needed(held: &[&Held], chains: &Chains, stays: &mut Reasons) {
    let kept: Vec<usize> = stays.keys().copied().collect();
    for number in kept {
        for needed in chains.above(number) {
            let by = held[number].name.clone();
            keep(stays, needed, Stays::Needed { by });
        }
    }
}

fn goes(held: &[&Held], chains: &Chains, number: usize) -> Goes {
    let is_refuted = |number: &usize| held[*number].proof == Some(false);
    if is_refuted(&number) {
        return Goes::Refuted;
    }
    if let Some(missing) = chains.missing(number) {
        let missing = missing.to_owned();
        return Goes::Broken { missing };
    }
    if let Some(refuted) = chains.above(number).find(is_refuted) {
        let refuted = held[refuted].name.clone();
        return Goes::NeedsRefuted { refuted };
    }
    if held[number].verified {
        Goes::NoPlace
    } else {
        Goes::Unverified
    }
}
