//! What a worker sends: inputs with their place in the object, grouped into requests.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::deferred::Room;
use crate::read::Held;

/// Bytes that an entry of a batch has around its resource, at most.
const AROUND_ENTRY: usize = 160;

/// Where an input lies in its object; offsets count decoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The input's own bytes.
    pub bytes: Range<u64>,
    /// What is settled together with it: its own bytes and what separates it from its neighbours.
    pub covers: Range<u64>,
    /// 0-based line over the whole object.
    pub line: u64,
    /// 0-based index in `Bundle.entry`, when it is an entry of a Bundle.
    pub entry: Option<u32>,
}

/// The id of a resource, as a part of the text it was read from where that is possible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FhirId(Bytes);

impl FhirId {
    /// An id that was read from `text`.
    pub(crate) fn read_from(text: &Bytes, id: Cow<'_, str>) -> Self {
        Self(match id {
            Cow::Borrowed(id) => text.slice_ref(id.as_bytes()),
            Cow::Owned(id) => id.into(),
        })
    }

    /// An id that lies in a text of ours.
    pub(crate) fn part_of(text: Bytes) -> Self {
        Self(text)
    }
}

impl From<&str> for FhirId {
    fn from(id: &str) -> Self {
        Self(Bytes::copy_from_slice(id.as_bytes()))
    }
}

impl Deref for FhirId {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for FhirId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// How one input is asked of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `PUT Type/id`.
    Put {
        /// The resource's id, checked to be a FHIR id.
        id: FhirId,
    },
    /// `POST Type`.
    Post,
    /// As the entry of the user's own Bundle says; its bytes are the whole entry.
    AsEntry {
        /// Whether asking twice has the effect of asking once.
        repeatable: bool,
    },
}

impl Ask {
    /// Whether asking twice has the effect of asking once.
    pub fn repeatable(&self) -> bool {
        match self {
            Self::Put { .. } => true,
            Self::Post => false,
            Self::AsEntry { repeatable } => *repeatable,
        }
    }
}

/// One resource, or one entry of the user's own Bundle.
#[derive(Debug, Clone)]
pub struct Input {
    /// Where it lies.
    pub place: Place,
    /// Its type; empty when an entry has neither a resource nor a telling URL.
    pub resource_type: Arc<str>,
    /// How it is asked.
    pub ask: Ask,
    /// Its JSON.
    pub json: Bytes,
}

/// The text of a Bundle of our own, entry by entry.
#[derive(Debug, Default)]
pub(crate) struct BundleText(BytesMut);

impl BundleText {
    /// A Bundle without entries, written to a text that is empty.
    pub(crate) fn begin(transaction: bool, mut text: BytesMut) -> Self {
        text.put_slice(if transaction {
            br#"{"resourceType":"Bundle","type":"transaction","entry":["#
        } else {
            br#"{"resourceType":"Bundle","type":"batch","entry":["#
        });
        Self(text)
    }

    /// Adds an entry; says where in the text the input's JSON and its id lie.
    pub(crate) fn add(&mut self, input: &Input) -> (Range<usize>, Range<usize>) {
        let text = &mut self.0;
        if text.last() == Some(&b'}') {
            text.put_u8(b',');
        }
        let (request, id): (&[u8], &[u8]) = match &input.ask {
            Ask::AsEntry { .. } => {
                let start = text.len();
                text.put_slice(&input.json);
                return (start..text.len(), 0..0);
            }
            Ask::Put { id } => (br#","request":{"method":"PUT","url":""#, &id.0),
            Ask::Post => (br#","request":{"method":"POST","url":""#, b""),
        };
        text.put_slice(br#"{"resource":"#);
        let json = text.len()..text.len() + input.json.len();
        text.put_slice(&input.json);
        text.put_slice(request);
        text.put_slice(input.resource_type.as_bytes());
        if !id.is_empty() {
            text.put_u8(b'/');
        }
        let start = text.len();
        text.put_slice(id);
        text.put_slice(br#""}}"#);
        (json, start..start + id.len())
    }

    /// The whole text.
    pub(crate) fn end(mut self) -> Bytes {
        self.0.put_slice(b"]}");
        self.0.freeze()
    }
}

/// A Bundle of the user's that goes to the server as it is.
#[derive(Debug, Clone)]
pub struct OwnBundle {
    /// Its bytes as they are in the object.
    pub json: Bytes,
    /// Where it lies.
    pub place: Place,
}

/// What one HTTP request carries.
#[derive(Debug, Clone)]
pub struct Request {
    /// The user's Bundle, when the request is one. Its entries are in `inputs`.
    pub bundle: Option<OwnBundle>,
    /// All of it is taken or nothing; otherwise each input stands for itself.
    pub transaction: bool,
    /// What is asked, in the order of a batch's entries.
    pub inputs: Vec<Input>,
    /// Hashes of the `Type/id` that it writes: two requests that share one are never in flight together,
    /// so that of two lines with the same id the later one wins.
    pub keys: Vec<u64>,
    /// The text of a Bundle of our own of so many inputs, when there is one already.
    pub(crate) written: Option<(usize, Bytes)>,
    /// Memory that a long text among them takes until it is on the wire.
    pub(crate) held: Option<Held>,
    /// Where a Bundle of the user's is kept for later that refers to something that is not there yet; without it, it is
    /// taken apart at once.
    pub(crate) later: Option<Room>,
}

impl Request {
    /// Inputs that are sent together.
    pub fn group(inputs: Vec<Input>, keys: Vec<u64>) -> Self {
        Self {
            bundle: None,
            transaction: false,
            inputs,
            keys,
            written: None,
            held: None,
            later: None,
        }
    }

    /// A Bundle of the user's with its entries.
    pub fn own(bundle: OwnBundle, transaction: bool, entries: Vec<Input>, keys: Vec<u64>) -> Self {
        Self {
            bundle: Some(bundle),
            transaction,
            ..Self::group(entries, keys)
        }
    }

    /// The same, whose text as a Bundle of our own is known.
    pub(crate) fn written(mut self, text: Bytes) -> Self {
        self.written = Some((self.inputs.len(), text));
        self
    }

    /// Inputs of which all are taken or none: so they can refer to each other, and by conditions.
    pub fn transaction(inputs: Vec<Input>, keys: Vec<u64>) -> Self {
        Self {
            transaction: true,
            ..Self::group(inputs, keys)
        }
    }

    /// Bytes of what it asks for.
    pub fn size(&self) -> usize {
        match &self.bundle {
            Some(bundle) => bundle.json.len(),
            None => self.inputs.iter().map(|input| input.json.len()).sum(),
        }
    }

    /// Whether sending it twice has the effect of sending it once.
    pub fn repeatable(&self) -> bool {
        self.inputs.iter().all(|input| input.ask.repeatable())
    }

    /// Decoded bytes that are settled with it.
    pub fn covers(&self) -> Vec<Range<u64>> {
        let inputs = self.inputs.iter().map(|input| input.place.covers.clone());
        inputs.collect()
    }

    /// The resource itself, when the request is one `PUT` or `POST` of one resource.
    pub fn single(&self) -> Option<&Input> {
        match self.inputs.as_slice() {
            [input]
                if self.bundle.is_none()
                    && !self.transaction
                    && !matches!(input.ask, Ask::AsEntry { .. }) =>
            {
                Some(input)
            }
            _ => None,
        }
    }

    /// The HTTP body.
    pub fn body(&self) -> Bytes {
        if let Some(bundle) = &self.bundle {
            return bundle.json.clone();
        }
        if let Some(input) = self.single() {
            return input.json.clone();
        }
        if let Some((inputs, text)) = &self.written
            && *inputs == self.inputs.len()
        {
            return text.clone();
        }
        let length = |input: &Input| input.json.len() + AROUND_ENTRY;
        let room = self.inputs.iter().map(length).sum::<usize>() + AROUND_ENTRY;
        let mut text = BundleText::begin(self.transaction, BytesMut::with_capacity(room));
        for input in &self.inputs {
            text.add(input);
        }
        text.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(line: u64, ask: Ask) -> Input {
        Input {
            place: Place {
                bytes: 0..1,
                covers: 0..2,
                line,
                entry: None,
            },
            resource_type: "Patient".into(),
            ask,
            json: Bytes::from(format!(r#"{{"resourceType":"Patient","n":{line}}}"#)),
        }
    }

    #[test]
    fn a_batch_names_method_and_url_of_each_entry() {
        let put = Ask::Put { id: "p1".into() };
        let request = Request::group(vec![input(0, put), input(1, Ask::Post)], vec![]);
        let body: serde_json::Value = serde_json::from_slice(&request.body()).unwrap();
        assert_eq!(body["type"], "batch");
        assert_eq!(body["entry"][0]["request"]["url"], "Patient/p1");
        assert_eq!(body["entry"][0]["request"]["method"], "PUT");
        assert_eq!(body["entry"][1]["request"]["url"], "Patient");
        assert_eq!(body["entry"][1]["resource"]["n"], 1);
        assert!(!request.repeatable(), "it has a POST");
    }

    #[test]
    fn one_resource_is_sent_without_a_bundle() {
        let request = Request::group(vec![input(7, Ask::Post)], vec![]);
        assert_eq!(request.body(), request.inputs[0].json);
    }

    #[test]
    fn a_transaction_of_one_is_a_bundle() {
        let request = Request::transaction(vec![input(0, Ask::Post)], vec![]);
        assert!(request.single().is_none());
        let body: serde_json::Value = serde_json::from_slice(&request.body()).unwrap();
        assert_eq!(body["type"], "transaction");
        assert_eq!(body["entry"][0]["request"]["method"], "POST");
    }
}
