//! Random sequences of what workers do, against a model small enough to be seen right.

use std::collections::BTreeSet;

use bucket_scanner::ledger::{Commit, LedgerError, MAX_ATTEMPTS, Retried};
use proptest::prelude::*;
use stoker_proto::common::v1::ByteRange;
use stoker_proto::ledger::v1::{Disposition, Unit};

use crate::world::{World, commit, key_of, lease_of, object, rejecting};

const LEASE_S: u64 = 60;
const OBJECTS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Leases up to so many units.
    Lease(u32),
    /// Commits ten bytes at ten times this, under the lease of this index; refused inputs or not.
    Commit(usize, u64, bool),
    Finish(usize),
    Release(usize, Disposition),
    Renew(usize),
    Wait(u64),
    Retry,
}

fn step() -> impl Strategy<Value = Step> {
    let disposition = prop_oneof![
        Just(Disposition::HandBack),
        Just(Disposition::Retry),
        Just(Disposition::Park),
    ];
    prop_oneof![
        4 => (1..4_u32).prop_map(Step::Lease),
        6 => (any::<usize>(), 0..8_u64, any::<bool>()).prop_map(|(l, at, bad)| Step::Commit(l, at, bad)),
        2 => any::<usize>().prop_map(Step::Finish),
        2 => (any::<usize>(), disposition).prop_map(|(l, d)| Step::Release(l, d)),
        1 => any::<usize>().prop_map(Step::Renew),
        2 => prop_oneof![Just(1), Just(8), Just(LEASE_S)].prop_map(Step::Wait),
        1 => Just(Step::Retry),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Open {
        from: u64,
    },
    /// Under the lease of this index, until this time.
    Leased {
        lease: usize,
        until: u64,
    },
    Done {
        lease: usize,
    },
    Parked,
}

/// What one unit should look like.
#[derive(Debug, Clone)]
struct Model {
    state: State,
    attempts: u32,
    /// Ten-byte pieces that are done, and those of them that were refused.
    done: BTreeSet<u64>,
    refused: BTreeSet<u64>,
}

impl Model {
    fn leased_under(&self, lease: usize) -> bool {
        matches!(self.state, State::Leased { lease: held, .. } if held == lease)
    }

    fn ranges(&self) -> Vec<ByteRange> {
        let mut ranges: Vec<ByteRange> = Vec::new();
        for piece in &self.done {
            let (start, end) = (piece * 10, piece * 10 + 10);
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(ByteRange { start, end }),
            }
        }
        ranges
    }
}

struct Run {
    world: World,
    job: i64,
    worker: i64,
    now: u64,
    /// Every lease ever had, with the number of its object.
    leases: Vec<(usize, Unit)>,
    units: Vec<Model>,
}

impl Run {
    async fn new() -> Self {
        let world = World::sqlite_memory().await;
        let objects: Vec<_> = (0..OBJECTS)
            .map(|n| object(&format!("/{n}"), 100))
            .collect();
        let job = world.job_over(&objects).await;
        let worker = world.worker().await;
        let unit = Model {
            state: State::Open { from: 0 },
            attempts: 0,
            done: BTreeSet::new(),
            refused: BTreeSet::new(),
        };
        Self {
            world,
            job,
            worker,
            now: 0,
            leases: Vec::new(),
            units: vec![unit; OBJECTS],
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Lease(max) => self.lease(max).await,
            Step::Wait(seconds) => {
                self.now += seconds;
                self.world.advance(seconds);
            }
            Step::Retry => self.retry().await,
            _ if self.leases.is_empty() => {}
            Step::Commit(lease, piece, refused) => {
                self.commit(lease % self.leases.len(), piece, refused).await;
            }
            Step::Finish(lease) => self.finish(lease % self.leases.len()).await,
            Step::Release(lease, how) => self.release(lease % self.leases.len(), how).await,
            Step::Renew(lease) => self.renew(lease % self.leases.len()).await,
        }
        self.check_counts().await;
    }

    async fn lease(&mut self, max: u32) {
        let now = self.now;
        let room = usize::try_from(max).unwrap();
        let mut expired: Vec<(u64, usize)> = (0..OBJECTS)
            .filter_map(|n| match self.units[n].state {
                State::Leased { until, .. } if until <= now => Some((until, n)),
                _ => None,
            })
            .collect();
        expired.sort_unstable();
        expired.truncate(room);
        let mut expected = BTreeSet::new();
        for (_, n) in expired {
            if self.units[n].attempts < MAX_ATTEMPTS {
                expected.insert(n);
            } else {
                self.units[n].state = State::Parked;
            }
        }
        let open = self
            .units
            .iter()
            .filter(|unit| matches!(unit.state, State::Open { from } if from <= now));
        let count = (expected.len() + open.count()).min(room);
        let units = self.world.lease(self.worker, max).await;
        assert_eq!(units.len(), count);
        for unit in units {
            let n: usize = key_of(&unit)[1..].parse().unwrap();
            let model = &mut self.units[n];
            let open = matches!(model.state, State::Open { from } if from <= now);
            assert!(open || expected.remove(&n), "{model:?}");
            model.attempts += 1;
            model.state = State::Leased {
                lease: self.leases.len(),
                until: now + LEASE_S,
            };
            assert_eq!(
                (unit.attempt, &unit.done),
                (model.attempts, &model.ranges())
            );
            self.leases.push((n, unit));
        }
        assert!(expected.is_empty(), "expired ones come first");
    }

    async fn commit(&mut self, lease: usize, piece: u64, refused: bool) {
        let (n, unit) = &self.leases[lease];
        let range = piece * 10..piece * 10 + 10;
        let commit: Commit = if refused {
            rejecting(unit, range, &[piece * 10])
        } else {
            commit(unit, range)
        };
        let result = self.world.ledger.commit_outcomes(&commit).await;
        let model = &mut self.units[*n];
        if model.leased_under(lease) {
            result.unwrap();
            if model.done.insert(piece) {
                model.attempts = 1;
                if refused {
                    model.refused.insert(piece);
                }
            }
        } else {
            assert!(
                matches!(result, Err(LedgerError::LeaseLost { .. })),
                "{result:?}"
            );
        }
    }

    async fn finish(&mut self, lease: usize) {
        let (n, unit) = &self.leases[lease];
        let result = self.world.finish(unit).await;
        let model = &mut self.units[*n];
        if model.leased_under(lease) {
            model.state = State::Done { lease };
        }
        if model.state == (State::Done { lease }) {
            result.unwrap();
        } else {
            assert!(
                matches!(result, Err(LedgerError::LeaseLost { .. })),
                "{result:?}"
            );
        }
    }

    async fn release(&mut self, lease: usize, how: Disposition) {
        let (n, unit) = &self.leases[lease];
        let result = self
            .world
            .ledger
            .release_unit(lease_of(unit), how, "because")
            .await;
        let model = &mut self.units[*n];
        if !model.leased_under(lease) {
            assert!(
                matches!(result, Err(LedgerError::LeaseLost { .. })),
                "{result:?}"
            );
            return;
        }
        result.unwrap();
        let pause = 1 << (model.attempts - 1);
        model.state = match how {
            Disposition::HandBack => {
                model.attempts -= 1;
                State::Open { from: self.now }
            }
            Disposition::Retry if model.attempts < MAX_ATTEMPTS => State::Open {
                from: self.now + pause,
            },
            _ => State::Parked,
        };
    }

    async fn renew(&mut self, lease: usize) {
        let (n, unit) = &self.leases[lease];
        let renewed = self
            .world
            .ledger
            .renew(&[lease_of(unit).clone()])
            .await
            .unwrap();
        let model = &mut self.units[*n];
        let held = model.leased_under(lease);
        assert_eq!(renewed[0].lost.is_empty(), held);
        if held {
            model.state = State::Leased {
                lease,
                until: self.now + LEASE_S,
            };
        }
    }

    async fn retry(&mut self) {
        let now = self.now;
        let at_work = |unit: &Model| {
            matches!(unit.state, State::Leased { until, .. } if until > now)
                && !unit.refused.is_empty()
        };
        let result = self.world.ledger.retry_job(self.job).await;
        if self.units.iter().any(at_work) {
            assert!(matches!(result, Err(LedgerError::NotNow(_))), "{result:?}");
            return;
        }
        let mut expected = Retried::default();
        for unit in &mut self.units {
            if unit.refused.is_empty() && unit.state != State::Parked {
                continue;
            }
            expected.units += 1;
            for piece in std::mem::take(&mut unit.refused) {
                expected.inputs += 1;
                unit.done.remove(&piece);
            }
            unit.attempts = 0;
            unit.state = State::Open { from: now };
        }
        assert_eq!(result.unwrap(), expected);
    }

    async fn check_counts(&self) {
        let count =
            |is: fn(&State) -> bool| self.units.iter().filter(|u| is(&u.state)).count() as u64;
        let counts = self.world.ledger.unit_counts().await.unwrap();
        assert_eq!(counts.open, count(|s| matches!(s, State::Open { .. })));
        assert_eq!(counts.leased, count(|s| matches!(s, State::Leased { .. })));
        assert_eq!(counts.parked, count(|s| matches!(s, State::Parked)));
        let total = self.world.total(self.job).await;
        assert_eq!(
            total.objects_done,
            count(|s| matches!(s, State::Done { .. }))
        );
        let refused: u64 = total.counts.iter().map(|c| c.rejected).sum();
        assert_eq!(
            refused,
            self.units
                .iter()
                .map(|u| u.refused.len() as u64)
                .sum::<u64>()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn workers_never_break_the_ledger(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new().await;
            for step in steps {
                run.take(step).await;
            }
        });
    }
}
