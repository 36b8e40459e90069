//! Tests of the core: whatever happens, what must always hold; and that it finds what there is to find.

use std::cell::RefCell;
use std::collections::BinaryHeap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const BOUNDS: Bounds = Bounds {
    concurrency: Axis {
        start: 4,
        least: 1,
        most: 64,
    },
    batch: Axis {
        start: 50,
        least: 1,
        most: 500,
    },
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A server that answers each request after a time of its own; the client has always something to send.
struct Played {
    pace: Pace,
    now: Duration,
    ends: BinaryHeap<std::cmp::Reverse<(Duration, Duration, usize)>>,
    sent: usize,
}

impl Played {
    fn new(bounds: Bounds) -> Self {
        Self {
            pace: Pace::new(bounds, Duration::ZERO, 1),
            now: Duration::ZERO,
            ends: BinaryHeap::new(),
            sent: 0,
        }
    }

    /// Sends what may be sent, then takes the next answer.
    fn step(
        &mut self,
        takes: impl Fn(Limits, usize) -> Duration,
        answer: impl Fn(usize) -> Answer,
    ) {
        let limits = self.pace.limits();
        while self.ends.len() < limits.concurrency {
            let due = self.pace.not_before();
            let next = self.ends.peek().map(|end| end.0.0);
            if due > self.now {
                if next.is_some_and(|next| next < due) {
                    break;
                }
                self.now = due;
            }
            self.pace.began(self.now, limits.batch, 1);
            self.sent += 1;
            let end = self.now + takes(limits, self.ends.len() + 1);
            self.ends
                .push(std::cmp::Reverse((end, self.now, limits.batch)));
        }
        let Some(std::cmp::Reverse((end, sent_at, items))) = self.ends.pop() else {
            return;
        };
        self.now = self.now.max(end);
        let seen = Observation {
            sent_at,
            items,
            places: 1,
            answer: answer(self.sent),
        };
        self.pace.ended(self.now, &seen);
    }
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        8 => Just(Answer::Done),
        1 => Just(Answer::Failed),
        1 => proptest::option::of(0_u64..3000).prop_map(|pause| Answer::Throttled {
            retry_after: pause.map(ms),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn limits_stay_within_bounds_and_requests_always_go_on(
        start in 1_usize..80,
        most in 1_usize..80,
        answers in proptest::collection::vec((any_answer(), 1_u64..400), 1..40),
    ) {
        let bounds = Bounds {
            concurrency: Axis::auto(start, 1, most),
            batch: Axis::auto(start * 3, 2, most * 5),
        };
        let mut played = Played::new(bounds);
        for turn in 0..400 {
            let (answer, takes) = answers[turn % answers.len()];
            let (before, idle) = (played.sent, played.ends.is_empty());
            played.step(|_, _| ms(takes), |_| answer);
            let limits = played.pace.limits();
            prop_assert!((1..=most).contains(&limits.concurrency), "{limits:?}");
            prop_assert!((2..=(most * 5).max(2)).contains(&limits.batch), "{limits:?}");
            prop_assert!(played.sent > before || !idle, "nothing is sent any more");
            // No pause is longer than what was asked for and a rate of one in a minute.
            prop_assert!(played.pace.not_before() <= played.now + Duration::from_secs(63));
        }
    }
}

#[test]
fn fixed_values_stay_whatever_happens() {
    let mut played = Played::new(Bounds {
        concurrency: Axis::fixed(8),
        batch: Axis::fixed(100),
    });
    for turn in 0..2000 {
        let answer = [Answer::Done, Answer::Failed, Answer::Failed][turn % 3];
        played.step(|_, _| ms(10), |_| answer);
        let limits = played.pace.limits();
        assert_eq!((limits.concurrency, limits.batch), (8, 100));
    }
    assert!(
        played.pace.not_before() <= played.now,
        "nothing was asked for"
    );
}

#[test]
fn what_the_server_asks_for_is_kept() {
    let mut pace = Pace::new(BOUNDS, Duration::ZERO, 1);
    pace.began(ms(0), 50, 1);
    pace.began(ms(0), 50, 1);
    let refused = |retry_after| Observation {
        sent_at: ms(0),
        items: 50,
        places: 1,
        answer: Answer::Throttled { retry_after },
    };
    pace.ended(ms(5), &refused(Some(ms(7000))));
    assert_eq!(pace.not_before(), ms(7005));
    // A shorter pause for another request does not shorten it.
    pace.ended(ms(6), &refused(Some(ms(10))));
    assert_eq!(pace.not_before(), ms(7005));
}

#[test]
fn a_server_that_fails_is_asked_less_until_it_is_well_again() {
    let mut played = Played::new(BOUNDS);
    let takes = |limits: Limits, _: usize| ms(20 + limits.batch as u64 / 10);
    while played.now < ms(3000) {
        played.step(takes, |_| Answer::Done);
    }
    let well = played.pace.limits().concurrency;
    assert!(well >= 16, "{well}");
    while played.now < ms(6000) {
        played.step(takes, |_| Answer::Failed);
    }
    let ill = played.pace.limits().concurrency;
    assert!(ill <= 2, "{ill}");
    while played.now < ms(20_000) {
        played.step(takes, |_| Answer::Done);
    }
    let again = played.pace.limits().concurrency;
    assert!(again >= 16, "{again}");
}

#[test]
fn the_knee_is_found_and_not_passed_by_far() {
    let mut played = Played::new(BOUNDS);
    // Ten at a time go on together, more wait for one another.
    let takes = |limits: Limits, running: usize| {
        let alone = 10_000 + 1000 * limits.batch as u64;
        Duration::from_micros(alone * (running as u64).max(10) / 10)
    };
    while played.now < ms(60_000) {
        played.step(takes, |_| Answer::Done);
    }
    let concurrency = played.pace.limits().concurrency;
    assert!((8..=32).contains(&concurrency), "{concurrency}");
}

#[test]
fn a_slow_rise_is_found_through_noise() {
    let bounds = Bounds {
        concurrency: Axis::fixed(16),
        batch: BOUNDS.batch,
    };
    let mut played = Played::new(bounds);
    let rng = RefCell::new(StdRng::seed_from_u64(7));
    // A request costs as much as 12 of its items; times spread as those of a busy server do.
    let takes = |limits: Limits, _: usize| {
        let dice: f64 = rng.borrow_mut().random_range(1e-6..1.0);
        let spread = 0.5 - 0.5 * dice.ln();
        Duration::from_micros(8000 + 700 * limits.batch as u64).mul_f64(spread)
    };
    let (mut large, mut all) = (0, 0);
    while played.now < ms(90_000) {
        played.step(takes, |_| Answer::Done);
        if played.now > ms(30_000) {
            all += 1;
            large += u32::from(played.pace.limits().batch >= 140);
        }
    }
    assert!(large > all / 2, "{large} of {all} at large batches");
}

#[test]
fn an_overload_of_one_place_says_nothing_of_its_neighbours() {
    let mut played = Played::new(BOUNDS);
    let takes = |limits: Limits, _: usize| ms(20 + limits.batch as u64 / 10);
    // What is 32 or more at a time fails; less than that goes on.
    while played.now < ms(40_000) {
        let running = played.ends.len() + 1;
        let limits = played.pace.limits();
        played.step(takes, |_| {
            if limits.concurrency >= 32 && running >= 24 {
                Answer::Failed
            } else {
                Answer::Done
            }
        });
    }
    let Limits { concurrency, batch } = played.pace.limits();
    assert!((8..32).contains(&concurrency), "{concurrency}");
    assert!(batch >= 100, "{batch}");
}

#[test]
fn a_single_failure_among_many_changes_nothing() {
    let mut played = Played::new(BOUNDS);
    while played.now < ms(30_000) {
        played.step(
            |limits, _| ms(20 + limits.batch as u64 / 10),
            |sent| {
                if sent % 500 == 0 {
                    Answer::Failed
                } else {
                    Answer::Done
                }
            },
        );
    }
    let concurrency = played.pace.limits().concurrency;
    assert!(concurrency >= 45, "{concurrency}");
}

#[test]
fn without_enough_to_send_nothing_is_learned() {
    let mut pace = Pace::new(BOUNDS, Duration::ZERO, 1);
    for turn in 0..2000 {
        let sent_at = ms(turn * 50);
        pace.began(sent_at, 50, 1);
        let seen = Observation {
            sent_at,
            items: 50,
            places: 1,
            answer: Answer::Done,
        };
        pace.ended(sent_at + ms(20), &seen);
    }
    let limits = pace.limits();
    assert_eq!((limits.concurrency, limits.batch), (4, 50));
}
