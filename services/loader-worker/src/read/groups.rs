//! Gathers resources into Bundles, written as they will be sent.

use std::ops::Range;

use bytes::Bytes;

use super::Held;
use super::reading::BatchSize;
use super::{KeySet, key_of};
use crate::bundle::has_conditional_reference;
use crate::input::{Ask, BundleText, FhirId, Input, Request};
use crate::texts::Texts;

/// Puts and posts, each in batches or in transactions. Puts and posts are never in one Bundle: a doubt about the
/// posts would be one about the puts.
const KINDS: usize = 4;

/// What a Bundle may hold.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Resources.
    pub(super) count: BatchSize,
    /// Bytes of resources, about.
    pub(super) bytes: usize,
    /// What has conditional references goes in transactions.
    pub(super) transactions: bool,
}

/// The Bundles that are being filled.
#[derive(Debug)]
pub(super) struct Groups {
    limits: Limits,
    filling: [Group; KINDS],
    texts: Texts,
}

#[derive(Debug, Default)]
struct Group {
    inputs: Vec<Input>,
    /// Where in the text each input's JSON and its id lie.
    places: Vec<(Range<usize>, Range<usize>)>,
    text: BundleText,
    keys: KeySet,
    bytes: usize,
    /// Memory that a long one among them takes.
    held: Option<Held>,
}

impl Groups {
    /// Of texts in the place of old ones.
    pub(super) fn new(limits: Limits, texts: Texts) -> Self {
        Self {
            limits,
            filling: Default::default(),
            texts,
        }
    }

    /// Adds a resource to its Bundle; `emit` takes Bundles that are full, and those that write the same
    /// `Type/id`, which is to be written after them.
    pub(super) fn add(&mut self, input: Input, held: Option<Held>, mut emit: impl FnMut(Request)) {
        let key = match &input.ask {
            Ask::Put { id } => Some(key_of(&input.resource_type, id)),
            _ => None,
        };
        let in_transaction = self.limits.transactions && has_conditional_reference(&input.json);
        let kind = usize::from(key.is_none()) + 2 * usize::from(in_transaction);
        let group = &self.filling[kind];
        let too_large = group.bytes + input.json.len() > self.limits.bytes;
        for other in 0..KINDS {
            let writes_it = key.is_some_and(|key| self.filling[other].keys.contains(&key));
            if writes_it || (too_large && other == kind) {
                self.emit(other, &mut emit);
            }
        }
        let group = &mut self.filling[kind];
        if group.inputs.is_empty() {
            group.text = BundleText::begin(in_transaction, self.texts.begin());
        }
        group.add(input, key);
        group.held = group.held.take().or(held);
        if group.inputs.len() >= self.limits.count.get() {
            self.emit(kind, &mut emit);
        }
    }

    /// Ends all Bundles.
    pub(super) fn flush(&mut self, mut emit: impl FnMut(Request)) {
        (0..KINDS).for_each(|kind| self.emit(kind, &mut emit));
    }

    fn emit(&mut self, kind: usize, emit: &mut impl FnMut(Request)) {
        if !self.filling[kind].inputs.is_empty() {
            emit(self.filling[kind].end(kind >= 2, &self.texts));
        }
    }
}

impl Group {
    /// Copies an input into the text; what it was read from is let go at once, to be written over.
    fn add(&mut self, mut input: Input, key: Option<u64>) {
        self.places.push(self.text.add(&input));
        self.keys.extend(key);
        self.bytes += input.json.len();
        input.json = Bytes::new();
        if let Ask::Put { id } = &mut input.ask {
            *id = FhirId::default();
        }
        self.inputs.push(input);
    }

    /// The request, whose inputs lie in the text that is sent.
    fn end(&mut self, transaction: bool, texts: &Texts) -> Request {
        let text = std::mem::take(&mut self.text).end();
        texts.keep(&text);
        let mut inputs = std::mem::take(&mut self.inputs);
        self.inputs.reserve(inputs.len());
        for (input, (json, id)) in inputs.iter_mut().zip(self.places.drain(..)) {
            input.json = text.slice(json);
            if let Ask::Put { id: known } = &mut input.ask {
                *known = FhirId::part_of(text.slice(id));
            }
        }
        let keys = self.keys.drain().collect();
        self.bytes = 0;
        let request = if transaction {
            Request::transaction(inputs, keys)
        } else {
            Request::group(inputs, keys)
        };
        Request {
            held: self.held.take(),
            ..request.written(text)
        }
    }
}
