//! What must hold in any history of a source.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{DAYS, at};
use super::*;

/// What happens next to a source.
#[derive(Debug, Clone)]
enum Event {
    /// So many minutes later a run makes a backup of this kind; a number picks the parent, if it has one.
    Run(i64, u8, Option<prop::sample::Index>),
    /// A run fails and leaves nothing.
    Failed(i64),
    /// One of the backups is verified or proven, or found to be bad.
    Learn(prop::sample::Index, u8),
    /// The clock jumps by so many hours.
    Jump(i64),
    /// What the plan says is deleted, up to so many of them.
    Prune(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let minutes = prop_oneof![5 => 1..3_000_i64, 1 => 3_000..60_000_i64];
    let parent = prop::option::of(any::<prop::sample::Index>());
    prop_oneof![
        6 => (minutes, 0..4_u8, parent).prop_map(|(later, kind, parent)| Event::Run(later, kind, parent)),
        1 => (1..3_000_i64).prop_map(Event::Failed),
        2 => (any::<prop::sample::Index>(), 0..4_u8).prop_map(|(which, kind)| Event::Learn(which, kind)),
        1 => (-1_100..1_100_i64).prop_map(Event::Jump),
        3 => (0..40_usize).prop_map(Event::Prune),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (0..5_u32, 0..4_u32, 0..3_u32, 0..72_u64, 1..4_u32).prop_map(
        |(daily, weekly, monthly, hours, minimum)| Rules {
            daily,
            weekly,
            monthly,
            keep_within: Duration::from_secs(hours * 3600),
            minimum: NonZeroU32::new(minimum).unwrap(),
            longest_pause: 7 * DAYS,
        },
    )
}

/// A source as it lives on.
#[derive(Debug)]
struct World {
    now: DateTime<Utc>,
    held: Vec<Held>,
    made: usize,
}

impl World {
    fn happens(&mut self, rules: &Rules, event: &Event) {
        match event {
            Event::Run(later, kind, parent) => self.run(*later, *kind, parent.as_ref()),
            Event::Failed(later) => self.now += TimeDelta::minutes(*later),
            Event::Jump(hours) => self.now += TimeDelta::hours(*hours),
            Event::Learn(which, kind) if !self.held.is_empty() => {
                let which = which.index(self.held.len());
                (self.held[which].verified, self.held[which].proof) = standing(*kind);
            }
            Event::Learn(..) => {}
            Event::Prune(most) => self.prune(rules, *most),
        }
    }

    fn run(&mut self, later: i64, kind: u8, parent: Option<&prop::sample::Index>) {
        let started = self.now;
        self.now += TimeDelta::minutes(later);
        self.made += 1;
        let (verified, proof) = standing(kind);
        let parent = parent.filter(|_| !self.held.is_empty());
        self.held.push(Held {
            name: format!("b{}", self.made),
            started,
            ended: started + TimeDelta::minutes(later.min(60)),
            verified,
            proof,
            parent: parent.map(|index| self.held[index.index(self.held.len())].name.clone()),
        });
    }

    /// Deletes one after the other, and looks after each whether all holds.
    fn prune(&mut self, rules: &Rules, most: usize) {
        let before = self.held.clone();
        let Ok(plan) = plan(rules, &self.held, self.now) else {
            return;
        };
        for name in plan.deletions.iter().take(most) {
            self.held.retain(|backup| backup.name != *name);
            no_new_orphans(&before, &self.held);
        }
        last_proven_is_there(&before, &self.held);
        only_verified_count(rules, &before, self.now);
        if most >= plan.deletions.len()
            && let Ok(again) = super::plan(rules, &self.held, self.now)
        {
            assert_eq!(again.deletions, Vec::<String>::new(), "a second time");
        }
    }
}

fn standing(kind: u8) -> (bool, Option<bool>) {
    match kind {
        0 => (true, Some(true)),
        1 => (true, None),
        2 => (false, None),
        _ => (true, Some(false)),
    }
}

fn last_proven_is_there(before: &[Held], after: &[Held]) {
    let proven = before.iter().filter(|backup| backup.proof == Some(true));
    let last = proven.max_by_key(|backup| (backup.started, &backup.name));
    if let Some(last) = last {
        assert!(after.contains(last), "{} was the last proven", last.name);
    }
}

fn no_new_orphans(before: &[Held], after: &[Held]) {
    let names = |held: &[Held]| -> BTreeSet<String> {
        held.iter().map(|backup| backup.name.clone()).collect()
    };
    let (were, are) = (names(before), names(after));
    for backup in after {
        if let Some(parent) = &backup.parent {
            assert!(
                !were.contains(parent) || are.contains(parent),
                "{} lost {parent}",
                backup.name
            );
        }
    }
}

/// What good ones stay for does not hang on those that are not verified.
fn only_verified_count(rules: &Rules, held: &[Held], now: DateTime<Utc>) {
    let by_themselves = |held: &[Held]| -> Option<BTreeSet<String>> {
        let plan = plan(rules, held, now).ok()?;
        let stays = plan
            .backups
            .into_iter()
            .filter(|backup| match &backup.verdict {
                Verdict::Stays(why) => why
                    .iter()
                    .any(|why| !matches!(why, Stays::Needed { .. } | Stays::Awaited(_))),
                Verdict::Goes(_) => false,
            });
        Some(stays.map(|backup| backup.name).collect())
    };
    let is_parent = |backup: &Held| held.iter().any(|b| b.parent.as_ref() == Some(&backup.name));
    let mut without = held.to_vec();
    without.retain(|backup| backup.verified || is_parent(backup));
    if let (Some(all), Some(fewer)) = (by_themselves(held), by_themselves(&without)) {
        for backup in without.iter().filter(|backup| backup.verified) {
            let name = &backup.name;
            assert_eq!(fewer.contains(name), all.contains(name), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn in_no_history_is_what_is_needed_lost(
        rules in any_rules(),
        more in any_rules(),
        events in prop::collection::vec(event(), 1..24),
    ) {
        let mut world = World { now: at(0), held: Vec::new(), made: 0 };
        for event in &events {
            world.happens(&rules, event);
        }
        // Who asks for more loses nothing that less would keep.
        let more = Rules {
            daily: rules.daily + more.daily,
            weekly: rules.weekly + more.weekly,
            monthly: rules.monthly + more.monthly,
            keep_within: rules.keep_within + more.keep_within,
            minimum: rules.minimum.saturating_add(more.minimum.get()),
            ..rules.clone()
        };
        if let Ok(less) = plan(&rules, &world.held, world.now) {
            let more = plan(&more, &world.held, world.now).unwrap();
            prop_assert!(more.deletions.iter().all(|name| less.deletions.contains(name)));
        }
    }
}
