//! What became of inputs.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::input::{Ask, FhirId, Input, OwnBundle, Place, Request};
use crate::read::Rejected;

/// What became of one input.
#[derive(Debug)]
pub struct Outcome {
    /// Where the input lies.
    pub place: Place,
    /// Its type; empty when it was no resource.
    pub resource_type: Arc<str>,
    /// What became of it.
    pub fate: Fate,
    /// How long the request took, milliseconds.
    pub response_ms: u32,
}

/// The ways an input can end.
#[derive(Debug)]
pub enum Fate {
    /// The server made it anew; the id when the server chose it.
    Created(Option<String>),
    /// The server had it and took this as its next state.
    Updated,
    /// It was refused.
    Rejected(Refusal),
    /// It was sent, and whether the server acted is not known.
    InDoubt(Refusal),
}

/// Why an input was not loaded, and its bytes.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// HTTP status of the request or of the entry; 0 when there was none.
    pub status: u16,
    /// For a person.
    pub text: String,
    /// The server's OperationOutcome; empty when there was none.
    pub operation_outcome: Bytes,
    /// The input, byte for byte; filled in when the input's fate is recorded.
    pub json: Bytes,
}

impl Refusal {
    /// Without the input's bytes.
    pub fn new(status: u16, text: impl Into<String>, operation_outcome: Bytes) -> Self {
        Self {
            status,
            text: text.into(),
            operation_outcome,
            json: Bytes::new(),
        }
    }
}

/// What was refused because something it refers to is not there, which may come yet.
#[derive(Debug)]
pub struct Deferred {
    /// To be sent again.
    pub request: Request,
    /// Why it was refused.
    pub why: Refusal,
    /// How long the request took, milliseconds.
    pub response_ms: u32,
}

impl Deferred {
    /// With bytes of its own: as a part of a chunk it keeps all of it.
    pub(crate) fn detached(mut self) -> Self {
        self.request.written = None;
        let own = self.request.bundle.as_mut().map(|own| {
            let copied = Bytes::copy_from_slice(&own.json);
            (std::mem::replace(&mut own.json, copied.clone()), copied)
        });
        for input in &mut self.request.inputs {
            // Entries of a Bundle of the user's are parts of its text.
            let part = own.as_ref().and_then(|(text, copied)| {
                let part = part_of(text, &input.json)?;
                Some(copied.slice(part))
            });
            input.json = part.unwrap_or_else(|| Bytes::copy_from_slice(&input.json));
            if let Ask::Put { id } = &mut input.ask {
                *id = FhirId::from(&**id);
            }
        }
        self
    }
}

/// Where in a text a part of it lies; none when it is no part of it.
fn part_of(text: &Bytes, part: &Bytes) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start + part.len();
    (end <= text.len()).then_some(start..end)
}

/// Inputs whose fate is known.
#[derive(Debug, Default)]
pub struct Settled {
    /// One for each input.
    pub outcomes: Vec<Outcome>,
    /// Inputs without an outcome yet.
    pub deferred: Vec<Deferred>,
    /// Decoded bytes that are settled.
    pub done: Vec<Range<u64>>,
    /// Decoded bytes that are about to be sent and cannot be repeated.
    pub begun: Vec<Range<u64>>,
    /// HTTP requests sent.
    pub requests: u64,
    /// Those that repeated an earlier one.
    pub retries: u64,
}

impl Settled {
    /// Bytes of inputs that are to be kept.
    pub fn kept_bytes(&self) -> usize {
        let kept = |outcome: &Outcome| match &outcome.fate {
            Fate::Rejected(refusal) | Fate::InDoubt(refusal) => refusal.json.len(),
            Fate::Created(_) | Fate::Updated => 0,
        };
        self.outcomes.iter().map(kept).sum()
    }

    /// Records one input's fate.
    pub fn input(&mut self, input: Input, mut fate: Fate, response_ms: u32) {
        self.done(&input.place);
        if let Fate::Rejected(refusal) | Fate::InDoubt(refusal) = &mut fate {
            refusal.json = input.json;
        }
        self.outcomes.push(Outcome {
            place: input.place,
            resource_type: input.resource_type,
            fate,
            response_ms,
        });
    }

    fn done(&mut self, place: &Place) {
        match self.done.last_mut() {
            Some(last) if last.end == place.covers.start => last.end = place.covers.end,
            _ => self.done.push(place.covers.clone()),
        }
    }

    /// Records that what was deferred is given up.
    pub fn give_up(&mut self, deferred: Deferred) {
        for input in deferred.request.inputs {
            let fate = Fate::Rejected(deferred.why.clone());
            self.input(input, fate, deferred.response_ms);
        }
    }

    /// Records that a whole Bundle of the user's was not loaded: one input of type Bundle.
    pub fn bundle(&mut self, bundle: OwnBundle, mut fate: Fate, response_ms: u32) {
        if let Fate::Rejected(refusal) | Fate::InDoubt(refusal) = &mut fate {
            refusal.json = bundle.json;
        }
        self.done.push(bundle.place.covers.clone());
        self.outcomes.push(Outcome {
            place: bundle.place,
            resource_type: "Bundle".into(),
            fate,
            response_ms,
        });
    }

    /// Records inputs that were never sent.
    pub fn unsent(rejected: Vec<Rejected>) -> Self {
        let mut settled = Self::default();
        for bad in rejected {
            let mut refusal = Refusal::new(0, bad.why.to_string(), Bytes::new());
            refusal.json = bad.json;
            settled.done.push(bad.place.covers.clone());
            settled.outcomes.push(Outcome {
                place: bad.place,
                resource_type: bad.resource_type,
                fate: Fate::Rejected(refusal),
                response_ms: 0,
            });
        }
        settled
    }
}
