//! A HorizontalPodAutoscaler (autoscaling/v2) as Kubernetes' controller computes it, from its manifest.

use std::collections::VecDeque;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// The controller looks so often, in seconds.
pub const SYNC_S: u64 = 15;

/// A ratio so near to 1 changes nothing.
const TOLERANCE: f64 = 0.1;

/// What is aimed at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// So much for each pod.
    Average(f64),
    /// So much, however many pods there are.
    Value(f64),
    /// Per cent of the CPU that pods request.
    Utilization(f64),
}

#[derive(Debug, Clone, Copy)]
enum Policy {
    Percent(f64, u64),
    Pods(f64, u64),
}

/// One direction.
#[derive(Debug)]
struct Rules {
    window_s: u64,
    policies: Vec<Policy>,
}

/// An autoscaler of a manifest, as the controller runs it: every [`SYNC_S`] seconds.
#[derive(Debug)]
pub struct Autoscaler {
    /// Fewest pods.
    pub min: u64,
    /// Most pods.
    pub max: u64,
    /// Of its metrics, in their order.
    pub targets: Vec<Target>,
    up: Rules,
    down: Rules,
    recommended: VecDeque<(u64, u64)>,
    /// When how many pods came or went.
    changes: Vec<(u64, i64)>,
}

impl Autoscaler {
    /// As its manifest says; fails where that has what is not simulated.
    pub fn of(manifest: &Value) -> anyhow::Result<Self> {
        let spec = &manifest["spec"];
        let number = |key: &str| spec[key].as_u64().with_context(|| format!("no {key}"));
        let metrics = spec["metrics"].as_array().context("no metrics")?;
        Ok(Self {
            min: number("minReplicas")?,
            max: number("maxReplicas")?,
            targets: metrics.iter().map(target).collect::<Result<_, _>>()?,
            up: rules(&spec["behavior"]["scaleUp"])?,
            down: rules(&spec["behavior"]["scaleDown"])?,
            recommended: VecDeque::new(),
            changes: Vec::new(),
        })
    }

    /// How many pods there are to be: `seen` has a value for each metric, none where there is no sample.
    pub fn decide(&mut self, now: u64, pods: u64, seen: &[Option<f64>]) -> u64 {
        let wishes = self.targets.iter().zip(seen);
        let wishes = wishes.filter_map(|(target, seen)| Some(wish(*target, (*seen)?, pods)));
        let Some(wish) = wishes.max() else {
            return pods;
        };
        self.recommended.push_back((now, wish));
        let longest = self.up.window_s.max(self.down.window_s);
        while self
            .recommended
            .front()
            .is_some_and(|(at, _)| at + longest < now)
        {
            self.recommended.pop_front();
        }
        let within = |window: u64| {
            let recent = self
                .recommended
                .iter()
                .filter(move |(at, _)| at + window > now);
            recent.map(|(_, wish)| *wish).chain([wish])
        };
        let up = within(self.up.window_s).min().unwrap_or(wish);
        let down = within(self.down.window_s).max().unwrap_or(wish);
        let stable = pods.max(up).min(down);
        let stable = self.limited(now, pods, stable).clamp(self.min, self.max);
        if stable != pods {
            self.changes.push((now, signed(stable) - signed(pods)));
        }
        stable
    }

    /// No faster than the policy that allows most.
    fn limited(&self, now: u64, pods: u64, wish: u64) -> u64 {
        let changed = |seconds: u64, came: bool| -> f64 {
            let recent = self.changes.iter().filter(|(at, _)| at + seconds > now);
            let these = recent.filter(|(_, by)| (*by > 0) == came);
            as_f64(these.map(|(_, by)| by.unsigned_abs()).sum())
        };
        let policies = |rules: &Rules, came: bool| -> Vec<f64> {
            let limits = rules.policies.iter().map(|policy| match *policy {
                Policy::Percent(percent, seconds) if came => {
                    ((as_f64(pods) - changed(seconds, true)) * (1.0 + percent / 100.0)).ceil()
                }
                Policy::Percent(percent, seconds) => {
                    ((as_f64(pods) + changed(seconds, false)) * (1.0 - percent / 100.0)).floor()
                }
                Policy::Pods(count, seconds) if came => {
                    as_f64(pods) - changed(seconds, true) + count
                }
                Policy::Pods(count, seconds) => as_f64(pods) + changed(seconds, false) - count,
            });
            limits.collect()
        };
        if wish > pods {
            let most = policies(&self.up, true)
                .into_iter()
                .fold(f64::MIN, f64::max);
            whole(as_f64(wish).min(most)).max(pods)
        } else {
            let least = policies(&self.down, false)
                .into_iter()
                .fold(f64::MAX, f64::min);
            whole(as_f64(wish).max(least)).min(pods)
        }
    }

    /// How often more pods followed on fewer, or the other way round.
    pub fn turns(&self) -> u64 {
        let pairs = self.changes.windows(2);
        as_u64(
            pairs
                .filter(|pair| (pair[0].1 > 0) != (pair[1].1 > 0))
                .count(),
        )
    }
}

fn target(metric: &Value) -> anyhow::Result<Target> {
    let number = |text: &Value| -> anyhow::Result<f64> {
        let text = text.as_str().context("a quantity is a text")?;
        text.parse()
            .with_context(|| format!("{text}: not a plain number"))
    };
    let external = &metric["external"]["target"];
    let cpu = &metric["resource"]["target"]["averageUtilization"];
    Ok(match (external["type"].as_str(), cpu.as_f64()) {
        (Some("AverageValue"), _) => Target::Average(number(&external["averageValue"])?),
        (Some("Value"), _) => Target::Value(number(&external["value"])?),
        (None, Some(percent)) => Target::Utilization(percent),
        _ => bail!("{metric}: a metric that is not simulated"),
    })
}

fn rules(direction: &Value) -> anyhow::Result<Rules> {
    let window_s = direction["stabilizationWindowSeconds"].as_u64();
    let policies = direction["policies"].as_array().context("no policies")?;
    let policies = policies.iter().map(|policy| {
        let value = policy["value"].as_f64().context("no value")?;
        let seconds = policy["periodSeconds"].as_u64().context("no period")?;
        match policy["type"].as_str() {
            Some("Percent") => Ok(Policy::Percent(value, seconds)),
            Some("Pods") => Ok(Policy::Pods(value, seconds)),
            other => bail!("{other:?}: no policy"),
        }
    });
    Ok(Rules {
        window_s: window_s.context("no stabilizationWindowSeconds")?,
        policies: policies.collect::<Result<_, _>>()?,
    })
}

fn wish(target: Target, seen: f64, pods: u64) -> u64 {
    let (ratio, wish) = match target {
        Target::Average(each) => (seen / (each * as_f64(pods)), (seen / each).ceil()),
        Target::Value(all) => (seen / all, (as_f64(pods) * seen / all).ceil()),
        Target::Utilization(percent) => (seen / percent, (as_f64(pods) * seen / percent).ceil()),
    };
    if (ratio - 1.0).abs() <= TOLERANCE {
        pods
    } else {
        whole(wish)
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of pods and units")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and no more than units there can be"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
