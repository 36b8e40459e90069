use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::*;

pub(super) const DAYS: Duration = Duration::from_hours(24);

/// A good and proven backup, begun so many hours after 2026-01-01, a Thursday, at 01:00 UTC.
fn good(hours: i64) -> Held {
    let started = at(hours);
    Held {
        name: format!("b{hours}"),
        started,
        ended: started + TimeDelta::minutes(10),
        verified: true,
        proof: Some(true),
        parent: None,
    }
}

fn unverified(hours: i64) -> Held {
    Held {
        verified: false,
        proof: None,
        ..good(hours)
    }
}

fn verified(hours: i64) -> Held {
    Held {
        proof: None,
        ..good(hours)
    }
}

fn refuted(hours: i64) -> Held {
    Held {
        proof: Some(false),
        ..good(hours)
    }
}

fn needs(parent: i64, backup: Held) -> Held {
    Held {
        parent: Some(format!("b{parent}")),
        ..backup
    }
}

pub(super) fn at(hours: i64) -> DateTime<Utc> {
    "2026-01-01T01:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
}

fn few(daily: u32, weekly: u32, monthly: u32) -> Rules {
    Rules {
        daily,
        weekly,
        monthly,
        keep_within: Duration::ZERO,
        ..Rules::default()
    }
}

/// What stays, the newest first, and why.
fn staying(rules: &Rules, held: &[Held], now: DateTime<Utc>) -> Vec<String> {
    let plan = plan(rules, held, now).unwrap();
    let shown = plan
        .backups
        .iter()
        .filter_map(|backup| match &backup.verdict {
            Verdict::Stays(why) => {
                let why: Vec<String> = why.iter().map(ToString::to_string).collect();
                Some(format!("{}: {}", backup.name, why.join(", ")))
            }
            Verdict::Goes(_) => None,
        });
    shown.collect()
}

fn names(lines: &[String]) -> Vec<&str> {
    lines
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect()
}

fn going(rules: &Rules, held: &[Held], now: DateTime<Utc>) -> Vec<String> {
    plan(rules, held, now).unwrap().deletions
}

#[test]
fn seven_days_four_weeks_and_three_months_stay() {
    let held: Vec<Held> = (0..100).map(|day| good(day * 24)).collect();
    let stays = staying(&Rules::default(), &held, at(99 * 24 + 12));
    // 2026-04-10 is a Friday; Sundays are the last of their weeks.
    let dates: Vec<String> = names(&stays)
        .iter()
        .map(|name| at(name[1..].parse().unwrap()).format("%m-%d").to_string())
        .collect();
    let expected = [
        "04-10", "04-09", "04-08", "04-07", "04-06", "04-05", "04-04", "03-31", "03-29", "03-22",
        "02-28",
    ];
    assert_eq!(dates, expected);
    assert_eq!(
        stays[0],
        "b2376: daily 1 of 7, weekly 1 of 4, monthly 1 of 3, within keep_within of the newest good one, \
         one of the least number to keep, the last that was proven"
    );
    assert_eq!(stays.last().unwrap(), "b1392: monthly 3 of 3");
}

#[test]
fn weeks_over_the_new_year_are_not_split() {
    // 2026-12-31 is a Thursday, so that the first days of 2027 are of the same week.
    let held: Vec<Held> = (363..368).map(|day| good(day * 24)).collect();
    let stays = staying(&few(0, 2, 0), &held, at(368 * 24));
    assert_eq!(names(&stays), ["b8808"]);
}

#[test]
fn only_verified_backups_take_places() {
    let held = [
        verified(0),
        verified(24),
        unverified(30),
        unverified(48),
        refuted(72),
        verified(96),
    ];
    let rules = few(2, 0, 0);
    let stays = staying(&rules, &held, at(100));
    // 48 would have the second place, and drives 24 out of none.
    assert_eq!(
        stays,
        [
            "b96: daily 1 of 2, within keep_within of the newest good one, one of the least number to keep",
            "b48: not known to be good yet; would be daily 2 of 2",
            "b24: daily 2 of 2",
        ]
        .map(|line| line.replace("within keep_within of the newest good one, ", ""))
    );
    let plan = plan(&rules, &held, at(100)).unwrap();
    let why: BTreeMap<&str, &Verdict> = plan
        .backups
        .iter()
        .map(|backup| (&*backup.name, &backup.verdict))
        .collect();
    assert_eq!(why["b72"], &Verdict::Goes(Goes::Refuted));
    assert_eq!(why["b30"], &Verdict::Goes(Goes::Unverified));
    assert_eq!(why["b0"], &Verdict::Goes(Goes::NoPlace));
    assert_eq!(plan.deletions, ["b0", "b30", "b72"]);
}

#[test]
fn where_none_is_good_all_stay() {
    let held = [unverified(0), refuted(1), unverified(2), unverified(3)];
    assert_eq!(going(&few(1, 0, 0), &held, at(4)), Vec::<String>::new());
}

#[test]
fn what_is_newer_than_the_newest_good_one_stays() {
    let held = [verified(0), unverified(1), refuted(2), unverified(3)];
    assert_eq!(going(&few(1, 0, 0), &held, at(4)), Vec::<String>::new());
}

#[test]
fn the_last_proven_stays_however_old() {
    let mut held: Vec<Held> = (0..30).map(|day| verified(day * 24)).collect();
    held[2] = good(48);
    held[1] = good(24);
    let stays = staying(&few(2, 0, 0), &held, at(30 * 24));
    assert_eq!(names(&stays), ["b696", "b672", "b48"]);
    // Damaged since it was proven: the one before it is the last that is good.
    held[2].verified = false;
    let stays = staying(&few(2, 0, 0), &held, at(30 * 24));
    assert_eq!(names(&stays), ["b696", "b672", "b48", "b24"]);
}

#[test]
fn what_another_needs_stays_and_goes_after_it() {
    let held = [
        good(0),
        needs(0, good(24)),
        needs(24, good(48)),
        good(72),
        needs(72, good(96)),
    ];
    assert_eq!(
        going(&few(1, 0, 0), &held, at(100)),
        ["b48", "b24", "b0"],
        "children first"
    );
    let stays = staying(&few(3, 0, 0), &held, at(100));
    assert_eq!(
        &stays[2..],
        [
            "b48: daily 3 of 3",
            "b24: needed by b48",
            "b0: needed by b48"
        ]
    );
}

#[test]
fn a_backup_without_what_it_needs_takes_no_place() {
    let circle = [
        good(0),
        needs(7, good(24)),
        needs(49, good(48)),
        needs(48, good(49)),
        good(72),
    ];
    let plan = plan(&few(2, 0, 0), &circle, at(73)).unwrap();
    assert_eq!(plan.deletions.len(), 3);
    let broken = |name: &str| {
        Verdict::Goes(Goes::Broken {
            missing: name.to_owned(),
        })
    };
    assert_eq!(plan.backups[3].verdict, broken("b7"));
    let needs_bad = [good(0), refuted(24), needs(24, good(48)), good(72)];
    let plan = super::plan(&few(2, 0, 0), &needs_bad, at(73)).unwrap();
    assert_eq!(plan.deletions, ["b48", "b24"]);
    let refuted = "b24".to_owned();
    assert_eq!(
        plan.backups[1].verdict,
        Verdict::Goes(Goes::NeedsRefuted { refuted })
    );
}

#[test]
fn young_ones_and_a_least_number_stay() {
    let held: Vec<Held> = (0..50).map(good).collect();
    let rules = Rules {
        keep_within: Duration::from_hours(3),
        ..few(0, 0, 0)
    };
    // The age is counted from the newest, whatever the clock shows.
    let stays = staying(&rules, &held, at(60));
    assert_eq!(names(&stays), ["b49", "b48", "b47"]);
    let rules = Rules {
        minimum: NonZeroU32::new(5).unwrap(),
        ..few(0, 0, 0)
    };
    assert_eq!(names(&staying(&rules, &held, at(60))).len(), 5);
}

#[test]
fn a_clock_that_cannot_be_right_retires_nothing() {
    let held: Vec<Held> = (0..20).map(|day| good(day * 24)).collect();
    let days = |days: i64| at((19 + days) * 24 + 1);
    let refused = |held: &[Held], now| plan(&Rules::default(), held, now).unwrap_err();
    assert!(plan(&Rules::default(), &held, days(0)).is_ok());
    let behind = refused(&held, days(-42));
    assert!(matches!(&behind, Implausible::Behind { newest, .. } if newest == "b456"));
    let ahead = refused(&held, days(42)).to_string();
    assert!(
        ahead.contains("b456, is 42 days old, and 7 days would be usual"),
        "{ahead}"
    );
    // A backup was made meanwhile.
    let mut leapt = held.clone();
    leapt.push(good((19 + 42) * 24));
    let told = refused(&leapt, days(42)).to_string();
    assert!(told.contains("b1464 was made 42 days after"), "{told}");
    // And the clock was set right again.
    assert!(matches!(
        refused(&leapt, days(0)),
        Implausible::Behind { .. }
    ));
    leapt.pop();
    assert!(plan(&Rules::default(), &leapt, days(0)).is_ok());
}

#[test]
fn what_is_usual_is_plausible() {
    let monthly: Vec<Held> = (0..12).map(|month| good(month * 30 * 24)).collect();
    let gone = going(&Rules::default(), &monthly, at(11 * 30 * 24 + 29 * 24));
    assert_eq!(gone.len(), 5);
    assert_eq!(going(&Rules::default(), &[], at(0)), Vec::<String>::new());
}

#[test]
fn rules_are_read_and_a_least_number_of_none_is_refused() {
    let read = |text: &str| serde_json::from_str::<Rules>(text);
    let rules = read(r#"{"daily": 14, "keep_within": "3days"}"#).unwrap();
    assert_eq!((rules.daily, rules.weekly), (14, 4));
    assert_eq!(rules.keep_within, 3 * DAYS);
    assert!(read(r#"{"minimum": 0}"#).is_err());
    assert!(read(r#"{"yearly": 1}"#).is_err());
}

#[test]
fn what_needs_an_unverified_one_waits_with_it() {
    let held = [
        unverified(0),
        needs(0, verified(24)),
        refuted(30),
        needs(30, verified(48)),
        verified(72),
    ];
    let stays = staying(&few(2, 0, 0), &held, at(73));
    assert_eq!(
        &stays[1..],
        [
            "b24: not known to be good yet; would be daily 2 of 2",
            "b0: needed by b24"
        ]
    );
}
