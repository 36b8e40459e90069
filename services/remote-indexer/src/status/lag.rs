//! How far a partition is from its end, in messages and in time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::PartitionState;
use crate::metrics::Lag;

/// Since when a partition has been seen to have more, with nothing of it committed meanwhile: its oldest message is
/// at least as old.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    committed: i64,
    since: DateTime<Utc>,
}

/// How far it is now; keeps in `behind` what it takes to know that later.
pub(super) fn lag(
    told: &PartitionState,
    behind: &mut BTreeMap<i32, Behind>,
    now: DateTime<Utc>,
) -> Lag {
    let PartitionState {
        partition,
        committed,
        end,
        oldest_open,
    } = *told;
    let messages = end.map(|end| u64::try_from(end - committed).unwrap_or(0));
    let seconds = if messages == Some(0) {
        behind.remove(&partition);
        Some(0.0)
    } else {
        let seen = messages.map(|_| {
            let fresh = Behind {
                committed,
                since: now,
            };
            let seen = behind.entry(partition).or_insert(fresh);
            if seen.committed != committed {
                *seen = fresh;
            }
            seen.since
        });
        let oldest = oldest_open.into_iter().chain(seen).min();
        oldest.map(|oldest| (now - oldest).as_seconds_f64().max(0.0))
    };
    Lag {
        partition,
        messages,
        seconds,
    }
}
