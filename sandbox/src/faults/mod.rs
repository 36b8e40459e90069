//! Faults to order: what goes wrong, with which requests, how often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

mod rule;

use rule::Stage;
pub use rule::{Fault, FaultError, FaultRule};

/// The rules of a running sandbox; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Armed>>>);

/// A rule and what it has seen.
#[derive(Debug)]
struct Armed {
    rule: FaultRule,
    matched: u64,
    struck: u64,
    /// Requests that a throttle lets through now, and when that was so.
    allowance: Option<(f64, Instant)>,
}

/// What the rules make of a request.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// How much later its answer comes.
    pub(crate) delay: Duration,
    /// What goes wrong besides; a throttle shows as its status.
    pub(crate) fault: Option<Fault>,
}

/// What the rules make of a `$reindex`.
#[derive(Debug, Default)]
pub(crate) struct ReindexFaults {
    /// It is to say `Reindex complete` at once.
    pub(crate) complete: bool,
    /// So many of what it did are not to be named.
    pub(crate) untold: usize,
    /// So many are not to be done.
    pub(crate) undone: usize,
}

/// What a rule may look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Nothing while the body is not read.
    pub(crate) body: Option<&'a [u8]>,
}

impl Faults {
    /// Replaces all rules; their counts begin anew.
    pub fn set(&self, rules: Vec<FaultRule>) -> Result<(), FaultError> {
        for (index, rule) in rules.iter().enumerate() {
            rule.check(index)?;
        }
        *self.lock() = rules.into_iter().map(Armed::new).collect();
        Ok(())
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The rules that are set, spent ones too, in their order.
    pub fn rules(&self) -> Vec<FaultRule> {
        self.lock().iter().map(|armed| armed.rule.clone()).collect()
    }

    /// How often each rule has struck, in their order.
    pub fn strikes(&self) -> Vec<u64> {
        self.lock().iter().map(|armed| armed.struck).collect()
    }

    /// Asks the rules about a request. Without its body, those that do not look at bodies answer;
    /// with it, the others. All that match count it; delays add up; the first other fault wins.
    pub(crate) fn judge(&self, subject: Subject<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        for armed in self.lock().iter_mut() {
            let looks_at_body = armed.rule.body_contains.is_some();
            let its_turn = armed.rule.fault.stage() == Stage::Request;
            if !its_turn || looks_at_body != subject.body.is_some() {
                continue;
            }
            match armed.strike(subject) {
                Some(Fault::Delay(delay)) => verdict.delay += delay,
                Some(fault) => {
                    verdict.fault.get_or_insert(fault);
                }
                None => {}
            }
        }
        verdict
    }

    /// The status that an entry of a Bundle is to have, if a rule says so.
    pub(crate) fn judge_entry(&self, subject: Subject<'_>) -> Option<u16> {
        let mut code = None;
        for armed in self.lock().iter_mut() {
            if let Fault::EntryStatus { .. } = armed.rule.fault
                && let Some(Fault::EntryStatus { code: struck }) = armed.strike(subject)
            {
                code.get_or_insert(struck);
            }
        }
        code
    }

    /// What the rules make of a `$reindex`; `picks` where the server picks.
    pub(crate) fn judge_reindex(&self, subject: Subject<'_>, picks: bool) -> ReindexFaults {
        let mut faults = ReindexFaults::default();
        for armed in self.lock().iter_mut() {
            let fault = &armed.rule.fault;
            let its_turn = fault.stage() == Stage::Reindex;
            if !its_turn || (*fault == Fault::ReindexComplete && !picks) {
                continue;
            }
            match armed.strike(subject) {
                Some(Fault::ReindexComplete) => faults.complete = true,
                Some(Fault::ReindexUntold(count)) => faults.untold += count,
                Some(Fault::ReindexUndone(count)) => faults.undone += count,
                _ => {}
            }
        }
        faults
    }

    /// Whether `$reindex` fails at a resource.
    pub(crate) fn judge_resource(&self, subject: Subject<'_>, index_id: u64, name: &str) -> bool {
        let mut fails = false;
        for armed in self.lock().iter_mut() {
            if let Fault::ReindexFails {
                index_ids,
                resources,
            } = &armed.rule.fault
                && (index_ids.contains(&index_id) || resources.contains(name))
            {
                fails |= armed.strike(subject).is_some();
            }
        }
        fails
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Armed {
    fn new(rule: FaultRule) -> Self {
        Self {
            rule,
            matched: 0,
            struck: 0,
            allowance: None,
        }
    }

    fn strike(&mut self, subject: Subject<'_>) -> Option<Fault> {
        if !self.rule.matches(subject) {
            return None;
        }
        self.matched += 1;
        let begun = self
            .matched
            .checked_sub(self.rule.after)
            .filter(|&n| n > 0)?;
        let due = begun.is_multiple_of(self.rule.every.unwrap_or(1));
        if !due || self.rule.times.is_some_and(|times| self.struck >= times) {
            return None;
        }
        let fault = match self.rule.fault {
            Fault::Throttle {
                requests_per_second,
                retry_after,
            } => self.throttle(requests_per_second, retry_after)?,
            ref fault => fault.clone(),
        };
        self.struck += 1;
        Some(fault)
    }

    fn throttle(&mut self, rate: f64, retry_after: Option<u32>) -> Option<Fault> {
        let now = Instant::now();
        let full = rate.max(1.0);
        let (left, since) = self.allowance.unwrap_or((full, now));
        let left = (left + (now - since).as_secs_f64() * rate).min(full);
        let passes = left >= 1.0;
        self.allowance = Some((if passes { left - 1.0 } else { left }, now));
        (!passes).then_some(Fault::Status {
            code: 429,
            retry_after,
            body: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(rule: FaultRule, requests: u64) -> Vec<u64> {
        let faults = Faults::default();
        faults.set(vec![rule]).unwrap();
        let subject = Subject {
            method: "POST",
            path: "/Patient",
            body: None,
        };
        (1..=requests)
            .filter(|_| faults.judge(subject).fault.is_some())
            .collect()
    }

    #[test]
    fn after_every_and_times_count_matching_requests() {
        let rule = FaultRule {
            after: 2,
            every: Some(3),
            times: Some(2),
            ..FaultRule::new(Fault::Hang)
        };
        assert_eq!(strikes(rule, 20), [5, 8]);
        assert_eq!(strikes(FaultRule::new(Fault::Hang), 3), [1, 2, 3]);
        let other = FaultRule {
            method: Some("PUT".to_owned()),
            ..FaultRule::new(Fault::Hang)
        };
        assert!(strikes(other, 5).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_lets_a_seconds_worth_through_at_once_and_then_its_rate() {
        let faults = Faults::default();
        let throttle = Fault::Throttle {
            requests_per_second: 4.0,
            retry_after: Some(1),
        };
        faults.set(vec![FaultRule::new(throttle)]).unwrap();
        let subject = Subject {
            method: "POST",
            path: "/Patient",
            body: None,
        };
        let passing = |requests: u64| {
            let passes = (0..requests).filter(|_| faults.judge(subject).fault.is_none());
            passes.count()
        };
        assert_eq!(passing(10), 4);
        for (pause_ms, expected) in [(240, 0), (20, 1), (500, 2), (1000, 4), (60_000, 4)] {
            tokio::time::advance(Duration::from_millis(pause_ms)).await;
            assert_eq!(passing(10), expected, "after {pause_ms} ms more");
        }
        let refused = faults.judge(subject).fault;
        let expected = Fault::Status {
            code: 429,
            retry_after: Some(1),
            body: None,
        };
        assert_eq!(refused, Some(expected));
    }

    #[test]
    fn rules_are_written_as_json() {
        let text = r#"[{"fault":{"delay_ms":250}},{"every":2,"fault":"drop_after_apply"},
            {"times":1,"fault":{"status":{"code":503,"retry_after":2}}},
            {"fault":{"throttle":{"requests_per_second":0.5}}},{"fault":{"entry_status":{"code":422}}}]"#;
        let rules: Vec<FaultRule> = serde_json::from_str(text).unwrap();
        assert_eq!(rules[0].fault, Fault::Delay(Duration::from_millis(250)));
        let again = serde_json::to_string(&rules).unwrap();
        assert_eq!(
            serde_json::from_str::<Vec<FaultRule>>(&again).unwrap(),
            rules
        );
        assert!(Faults::default().set(rules).is_ok());
        assert!(serde_json::from_str::<FaultRule>(r#"{"fault":"hang","tiems":1}"#).is_err());
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        let status = |code| Fault::Status {
            code,
            retry_after: None,
            body: None,
        };
        let throttle = Fault::Throttle {
            requests_per_second: 0.0,
            retry_after: None,
        };
        let body = Some("x".to_owned());
        for rule in [
            FaultRule::new(status(100)),
            FaultRule::new(status(700)),
            FaultRule::new(Fault::EntryStatus { code: 200 }),
            FaultRule::new(throttle),
            FaultRule {
                every: Some(0),
                ..FaultRule::new(Fault::Hang)
            },
            FaultRule {
                body_contains: body,
                ..FaultRule::new(Fault::DropBeforeRead)
            },
        ] {
            assert!(
                Faults::default().set(vec![rule.clone()]).is_err(),
                "{rule:?}"
            );
        }
    }
}
