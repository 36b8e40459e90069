//! Whether the autoscalers of `k8s/components/autoscaling` do well: their manifests, the controller's formula and the
//! metrics' own code, against loads that rise, burst and go with the day.

use std::f64::consts::PI;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;
use stoker_tests::{repository, yaml};

mod autoscaler;
mod world;

pub use autoscaler::{Autoscaler, SYNC_S};
pub use world::{Indexing, Loading, World};

/// A day, in seconds.
pub const DAY_S: u64 = 24 * 60 * 60;

/// What came of a load.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// How often the number of pods turned from rising to falling or back.
    pub turns: u64,
    /// Most pods at a time.
    pub most: u64,
    /// Pods, over the hours.
    pub pod_hours: f64,
    /// Longest time that something waited for a pod.
    pub longest_wait_s: u64,
}

/// The autoscaler of a service, with these fewest and most pods.
///
/// # Errors
/// Where its manifest cannot be read, or has what is not simulated.
pub fn autoscaler(service: &str, pods: (u64, u64)) -> anyhow::Result<Autoscaler> {
    let file = format!("k8s/components/autoscaling/{service}.yaml");
    let manifest: Value = yaml::read(&repository::root().join(Path::new(&file)));
    let mut autoscaler = Autoscaler::of(&manifest).context(file)?;
    (autoscaler.min, autoscaler.max) = pods;
    Ok(autoscaler)
}

/// Lets a load go on for so long.
pub fn run(mut autoscaler: Autoscaler, world: &mut dyn World, seconds: u64) -> Course {
    let mut pods = autoscaler.min;
    let (mut most, mut all, mut longest_wait_s) = (pods, 0, 0);
    for now in 0..seconds {
        world.second(now, pods);
        if now % SYNC_S == SYNC_S / 2 {
            pods = autoscaler.decide(now, pods, &[world.signal(), Some(world.cpu())]);
        }
        most = most.max(pods);
        all += pods;
        longest_wait_s = longest_wait_s.max(world.waits_s());
    }
    Course {
        turns: autoscaler.turns(),
        most,
        pod_hours: autoscaler::as_f64(all) / 3600.0,
        longest_wait_s,
    }
}

/// A load that goes with the day: three quarters more at noon than in the mean, three quarters less at night.
pub fn diurnal(per_day: f64) -> impl Fn(u64) -> f64 {
    let day = autoscaler::as_f64(DAY_S);
    move |now| {
        let phase = 2.0 * PI * autoscaler::as_f64(now % DAY_S) / day;
        per_day / day * (1.0 - 0.75 * phase.cos())
    }
}

#[cfg(test)]
mod tests;
