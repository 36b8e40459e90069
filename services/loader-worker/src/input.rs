//! What a worker sends: inputs with their place in the object, grouped into requests.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

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

/// How one input is asked of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `PUT Type/id`.
    Put {
        /// The resource's id, checked to be a FHIR id.
        id: Box<str>,
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

impl Input {
    fn write_entry(&self, body: &mut BytesMut) {
        let (verb, id) = match &self.ask {
            Ask::AsEntry { .. } => return body.put_slice(&self.json),
            Ask::Put { id } => ("PUT", Some(id)),
            Ask::Post => ("POST", None),
        };
        body.put_slice(b"{\"resource\":");
        body.put_slice(&self.json);
        body.put_slice(b",\"request\":{\"method\":\"");
        body.put_slice(verb.as_bytes());
        body.put_slice(b"\",\"url\":\"");
        body.put_slice(self.resource_type.as_bytes());
        if let Some(id) = id {
            body.put_u8(b'/');
            body.put_slice(id.as_bytes());
        }
        body.put_slice(b"\"}}");
    }
}

/// A Bundle of the user's that goes to the server as it is.
#[derive(Debug, Clone)]
pub struct OwnBundle {
    /// Its bytes as they are in the object.
    pub json: Bytes,
    /// Where it lies.
    pub place: Place,
    /// All or nothing; otherwise a batch.
    pub transaction: bool,
}

/// What one HTTP request carries.
#[derive(Debug, Clone)]
pub struct Request {
    /// The user's Bundle, when the request is one. Its entries are in `inputs`.
    pub bundle: Option<OwnBundle>,
    /// What is asked, in the order of a batch's entries.
    pub inputs: Vec<Input>,
    /// Hashes of the `Type/id` that it writes: two requests that share one are never in flight together,
    /// so that of two lines with the same id the later one wins.
    pub keys: Vec<u64>,
}

impl Request {
    /// Inputs that are sent together.
    pub fn group(inputs: Vec<Input>, keys: Vec<u64>) -> Self {
        Self {
            bundle: None,
            inputs,
            keys,
        }
    }

    /// Bytes of what it asks for.
    pub fn size(&self) -> usize {
        match &self.bundle {
            Some(bundle) => bundle.json.len(),
            None => self.inputs.iter().map(|input| input.json.len()).sum(),
        }
    }

    /// Whether the server answers all or nothing.
    pub fn is_transaction(&self) -> bool {
        self.bundle.as_ref().is_some_and(|b| b.transaction)
    }

    /// Whether sending it twice has the effect of sending it once.
    pub fn repeatable(&self) -> bool {
        self.inputs.iter().all(|input| input.ask.repeatable())
    }

    /// The resource itself, when the request is one `PUT` or `POST` of one resource.
    pub fn single(&self) -> Option<&Input> {
        match (&self.bundle, self.inputs.as_slice()) {
            (None, [input]) if !matches!(input.ask, Ask::AsEntry { .. }) => Some(input),
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
        let length: usize = self
            .inputs
            .iter()
            .map(|i| i.json.len() + AROUND_ENTRY)
            .sum();
        let mut body = BytesMut::with_capacity(length + AROUND_ENTRY);
        body.put_slice(br#"{"resourceType":"Bundle","type":"batch","entry":["#);
        for (i, input) in self.inputs.iter().enumerate() {
            if i > 0 {
                body.put_u8(b',');
            }
            input.write_entry(&mut body);
        }
        body.put_slice(b"]}");
        body.freeze()
    }

    /// Whether parts of it can be sent by themselves.
    pub fn can_be_halved(&self) -> bool {
        self.inputs.len() > 1 && !self.is_transaction()
    }

    /// Both halves of a batch that can be halved, in order.
    pub fn halves(mut self) -> [Self; 2] {
        let rest = self.inputs.split_off(self.inputs.len() / 2);
        [self.inputs, rest].map(|inputs| Self::group(inputs, Vec::new()))
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
        assert!(!request.can_be_halved());
    }

    #[test]
    fn halves_keep_every_input_in_order() {
        let inputs = (0..5).map(|n| input(n, Ask::Post)).collect();
        let [a, b] = Request::group(inputs, vec![]).halves();
        let lines: Vec<_> = a
            .inputs
            .iter()
            .chain(&b.inputs)
            .map(|i| i.place.line)
            .collect();
        assert_eq!(lines, [0, 1, 2, 3, 4]);
    }
}
