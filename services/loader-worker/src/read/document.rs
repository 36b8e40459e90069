//! Turns one JSON text, a line or a whole file, into what is to be sent: the resource, the Bundle as it is,
//! or the resources of a Bundle that is taken apart.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use stoker_proto::common::v1::Interaction;

use super::entry::Entry;
use super::header::{self, BadInput, Header};
use crate::input::{Ask, FhirId, Input, OwnBundle, Place, Request};

/// What one JSON text asks for.
#[derive(Debug)]
pub(super) enum Document {
    /// A resource to group into a batch, good or bad.
    Resource(Result<Input, Rejected>),
    /// Those of a Bundle taken apart.
    Resources(Vec<Result<Input, Rejected>>),
    /// A transaction or batch that goes as it is.
    Bundle(Request),
}

/// An input that is not sent.
#[derive(Debug)]
pub struct Rejected {
    /// Where it lies.
    pub place: Place,
    /// Its bytes; empty when they are too many to keep.
    pub json: Bytes,
    /// Its type as far as known.
    pub resource_type: Arc<str>,
    /// Why.
    pub why: BadInput,
}

/// Reads documents of one unit.
#[derive(Debug)]
pub(super) struct Documents {
    interaction: Interaction,
    types: HashMap<Box<str>, Arc<str>>,
    /// The type asked for last: mostly the next too.
    last_type: Arc<str>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    entry: Vec<&'a RawValue>,
}

/// What matters of an entry whose resource is taken out.
#[derive(Deserialize)]
struct Holder<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

impl Documents {
    /// For inputs sent the way `interaction` says.
    pub(super) fn new(interaction: Interaction) -> Self {
        Self {
            interaction,
            types: HashMap::new(),
            last_type: "".into(),
        }
    }

    /// Reads one text; `place.bytes` are the bytes of `json`, without white space around them.
    pub(super) fn read(&mut self, json: Bytes, place: Place) -> Document {
        match header::parse(&json) {
            Ok(head) if head.resource_type == "Bundle" => match parse_bundle(&json) {
                Ok(bundle) => self.bundle(&bundle, &json, place),
                Err(why) => self.refuse(&json, place, why),
            },
            Ok(head) => {
                let resource_type = self.intern(&head.resource_type);
                let ask = self.ask(&head, &json);
                Document::Resource(finish(json, place, resource_type, ask))
            }
            Err(why) => self.refuse(&json, place, why),
        }
    }

    fn refuse(&mut self, json: &Bytes, place: Place, why: BadInput) -> Document {
        Document::Resource(Err(self.reject(json.clone(), place, why)))
    }

    fn bundle(&mut self, bundle: &Bundle<'_>, json: &Bytes, place: Place) -> Document {
        let transaction = match bundle.kind.as_deref() {
            Some("transaction") => true,
            Some("batch") => false,
            Some("history") => return self.refuse(json, place, BadInput::History),
            Some(_) => return self.take_apart(bundle, json, &place),
            None => return self.refuse(json, place, BadInput::NoBundleType),
        };
        let spans = spread(&place, bundle.entry.iter().map(|e| span(json, e)));
        let mut keys = Vec::new();
        let entries = bundle.entry.iter().zip(spans).map(|(raw, (bytes, place))| {
            let entry = Entry::read(raw);
            keys.extend(entry.writes());
            let repeatable = entry.is_repeatable();
            Input {
                place,
                resource_type: self.intern(&entry.resource_type()),
                ask: Ask::AsEntry { repeatable },
                json: json.slice(bytes),
            }
        });
        let inputs = entries.collect();
        let own = OwnBundle {
            json: json.clone(),
            place,
        };
        Document::Bundle(Request::own(own, transaction, inputs, keys))
    }

    /// The resources of a collection, searchset … one by one. Entries without a resource ask for nothing.
    fn take_apart(&mut self, bundle: &Bundle<'_>, json: &Bytes, place: &Place) -> Document {
        let mut found = Vec::new();
        for (n, raw) in (0u32..).zip(&bundle.entry) {
            match serde_json::from_str::<Holder>(raw.get()) {
                Ok(Holder { resource: None }) => {}
                Ok(Holder { resource: Some(r) }) => found.push((n, span(json, r), None)),
                Err(e) => found.push((n, span(json, raw), Some(BadInput::BadEntry(e)))),
            }
        }
        let spans = spread(place, found.iter().map(|(_, span, _)| span.clone()));
        let inputs = found
            .into_iter()
            .zip(spans)
            .map(|((n, _, bad), (bytes, mut place))| {
                place.entry = Some(n);
                self.entry(json.slice(bytes), place, bad)
            });
        Document::Resources(inputs.collect())
    }

    fn entry(
        &mut self,
        json: Bytes,
        place: Place,
        bad: Option<BadInput>,
    ) -> Result<Input, Rejected> {
        let head = bad.map_or_else(|| header::parse(&json), Err);
        match head {
            Ok(head) => {
                let resource_type = self.intern(&head.resource_type);
                let ask = self.ask(&head, &json);
                finish(json, place, resource_type, ask)
            }
            Err(why) => Err(self.reject(json, place, why)),
        }
    }

    fn ask(&self, head: &Header<'_>, json: &Bytes) -> Result<Ask, BadInput> {
        if self.interaction == Interaction::Create {
            return Ok(Ask::Post);
        }
        match head.id()? {
            Some(id) => Ok(Ask::Put {
                id: FhirId::read_from(json, id),
            }),
            None if self.interaction == Interaction::Update => Err(BadInput::NoId),
            None => Ok(Ask::Post),
        }
    }

    fn reject(&mut self, json: Bytes, place: Place, why: BadInput) -> Rejected {
        Rejected {
            place,
            json,
            resource_type: self.intern(""),
            why,
        }
    }

    fn intern(&mut self, name: &str) -> Arc<str> {
        if *self.last_type != *name {
            let known = self.types.entry(name.into());
            self.last_type = Arc::clone(known.or_insert_with(|| name.into()));
        }
        Arc::clone(&self.last_type)
    }
}

fn finish(
    json: Bytes,
    place: Place,
    resource_type: Arc<str>,
    ask: Result<Ask, BadInput>,
) -> Result<Input, Rejected> {
    match ask {
        Ok(ask) => Ok(Input {
            place,
            resource_type,
            ask,
            json,
        }),
        Err(why) => Err(Rejected {
            place,
            json,
            resource_type,
            why,
        }),
    }
}

fn parse_bundle(json: &[u8]) -> Result<Bundle<'_>, BadInput> {
    serde_json::from_str(header::utf8(json)?).map_err(BadInput::NotJson)
}

/// Where a part of a text lies in it.
fn span(whole: &[u8], part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.get().len()
}

/// Places of parts of one document. What they cover leaves no gap, so that a document whose parts
/// are all settled is settled as a whole.
fn spread(
    document: &Place,
    parts: impl Iterator<Item = Range<usize>>,
) -> Vec<(Range<usize>, Place)> {
    let parts: Vec<Range<usize>> = parts.collect();
    let base = document.bytes.start;
    let starts = parts.iter().skip(1).map(|part| base + part.start as u64);
    let ends: Vec<u64> = starts.chain([document.covers.end]).collect();
    let mut start = document.covers.start;
    let place = |(n, (part, end)): (usize, (Range<usize>, u64))| {
        let bytes = base + part.start as u64..base + part.end as u64;
        let place = Place {
            bytes,
            covers: start..end,
            line: document.line,
            entry: u32::try_from(n).ok(),
        };
        start = end;
        (part, place)
    };
    parts.into_iter().zip(ends).enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::super::key::key_of;
    use super::*;

    fn read(interaction: Interaction, json: &str) -> Document {
        let length = json.len() as u64;
        let place = Place {
            bytes: 10..10 + length,
            covers: 8..11 + length,
            line: 3,
            entry: None,
        };
        Documents::new(interaction).read(Bytes::copy_from_slice(json.as_bytes()), place)
    }

    fn asks(document: Document) -> Vec<Result<Ask, String>> {
        let resources = match document {
            Document::Resource(resource) => vec![resource],
            Document::Resources(resources) => resources,
            Document::Bundle(_) => panic!("not taken as resources: {document:?}"),
        };
        resources
            .into_iter()
            .map(|r| r.map(|i| i.ask).map_err(|r| r.why.to_string()))
            .collect()
    }

    #[test]
    fn the_interaction_decides_between_put_and_post() {
        let with = r#"{"resourceType":"Patient","id":"p1"}"#;
        let without = r#"{"resourceType":"Patient"}"#;
        let put = || Ok(Ask::Put { id: "p1".into() });
        assert_eq!(asks(read(Interaction::Auto, with)), [put()]);
        assert_eq!(asks(read(Interaction::Auto, without)), [Ok(Ask::Post)]);
        assert_eq!(asks(read(Interaction::Create, with)), [Ok(Ask::Post)]);
        assert_eq!(asks(read(Interaction::Update, with)), [put()]);
        assert!(asks(read(Interaction::Update, without))[0].is_err());
    }

    #[test]
    fn a_collection_is_taken_apart_without_gaps() {
        let json = r#"{"resourceType":"Bundle","type":"collection","entry":[
            {"fullUrl":"x","resource":{"resourceType":"Patient","id":"a"}},
            {"fullUrl":"no resource"},
            {"resource":{"resourceType":"Basic"}}]}"#;
        let Document::Resources(resources) = read(Interaction::Auto, json) else {
            panic!("taken as a whole")
        };
        let inputs: Vec<Input> = resources.into_iter().map(Result::unwrap).collect();
        assert_eq!(inputs.len(), 2);
        assert_eq!(inputs[0].json, r#"{"resourceType":"Patient","id":"a"}"#);
        let place = &inputs[0].place;
        let offset = usize::try_from(place.bytes.start - 10).unwrap();
        assert!(json[offset..].starts_with(r#"{"resourceType":"Patient""#));
        assert_eq!(place.covers.start, 8);
        assert_eq!(place.covers.end, inputs[1].place.covers.start);
        assert_eq!(inputs[1].place.covers.end, 11 + json.len() as u64);
        assert_eq!(inputs[1].place.entry, Some(2));
    }

    #[test]
    fn a_transaction_stays_whole_and_knows_what_may_be_repeated() {
        let json = r#"{"resourceType":"Bundle","type":"transaction","entry":[
            {"resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient"}},
            {"resource":{"resourceType":"Basic"},"request":{"method":"POST","url":"Basic","ifNoneExist":"code=1"}},
            {"request":{"method":"DELETE","url":"Group/1"}}]}"#;
        let Document::Bundle(request) = read(Interaction::Create, json) else {
            panic!("taken apart")
        };
        assert!(request.transaction);
        assert_eq!(request.keys, [key_of("Group", "1")]);
        assert_eq!(request.body(), json);
        let seen: Vec<_> = request
            .inputs
            .iter()
            .map(|e| (&*e.resource_type, e.ask.repeatable()))
            .collect();
        assert_eq!(seen, [("Patient", false), ("Basic", true), ("Group", true)]);
    }

    #[test]
    fn an_odd_entry_is_named_and_a_history_refused() {
        let json = r#"{"resourceType":"Bundle","type":"searchset","entry":[
            7,{"resource":{"resourceType":"Basic"},"request":"odd but without meaning here"}]}"#;
        let found = asks(read(Interaction::Auto, json));
        assert!(
            found[0].as_ref().unwrap_err().contains("not an entry"),
            "{found:?}"
        );
        assert_eq!(found[1], Ok(Ask::Post));
        let history = r#"{"resourceType":"Bundle","type":"history","entry":[]}"#;
        let found = asks(read(Interaction::Auto, history));
        assert!(found[0].as_ref().unwrap_err().contains("history"));
    }

    #[test]
    fn a_bundle_without_a_type_is_rejected() {
        let found = asks(read(
            Interaction::Auto,
            r#"{"resourceType":"Bundle","entry":[]}"#,
        ));
        assert!(found[0].as_ref().unwrap_err().contains("without a type"));
    }
}
