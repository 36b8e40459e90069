//! Breaks a Bundle of the user's up before it is sent.

use std::num::NonZeroUsize;

use super::names_of_parts::PartNames;
use super::{BreakupError, break_up};
use crate::input::{Ask, Request};
use crate::read::key_of;

/// Which Bundles are broken up, and how what comes of them is named.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// Most entries to one.
    pub(crate) max: NonZeroUsize,
    /// Of the object they lie in.
    pub(crate) names: PartNames,
}

impl InFlight {
    /// What is sent for the Bundle `request`, in this order and one after the other, since the later refer to the
    /// earlier; none when it goes as it is. Its line is given when it is one of several documents.
    pub(crate) fn requests(
        &self,
        request: &Request,
        line: Option<u64>,
    ) -> Result<Option<Vec<Request>>, BreakupError> {
        let Some(bundle) = &request.bundle else {
            return Ok(None);
        };
        if request.inputs.len() <= self.max.get() {
            return Ok(None);
        }
        let seed = self.names.seed(line);
        let parts = break_up(&bundle.json, self.max, &seed)?.unwrap_or_default();
        // What has a key in common is never under way together.
        let mut keys = request.keys.clone();
        keys.push(key_of("Bundle", &seed));
        let of = |part: super::Part| {
            let inputs = part.entries.into_iter().map(|entry| {
                let mut input = request.inputs[entry.index].clone();
                if entry.is_given {
                    input.ask = Ask::AsEntry { repeatable: true };
                }
                input.json = entry.json;
                input
            });
            Request {
                transaction: request.transaction,
                ..Request::group(inputs.collect(), keys.clone())
            }
        };
        Ok(Some(parts.into_iter().map(of).collect()))
    }
}
