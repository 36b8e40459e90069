//! Steps of the way of a resource by themselves, for measuring.

use bytes::Bytes;

use crate::input::{Ask, Input, Place, Request};
use crate::{read, skim};

/// Whether a text is JSON and a FHIR resource as far as a worker looks.
pub fn is_resource(json: &[u8]) -> bool {
    read::is_resource(json)
}

/// How many entries an answer to a batch has, when all were taken.
pub fn entries_taken(answer: &[u8]) -> Option<usize> {
    let mut entries = 0;
    let all = skim::statuses(answer, |status| {
        entries += 1;
        (200..300).contains(&status).then_some(())
    });
    all.map(|()| entries)
}

/// A batch that updates `Basic` resources: its text.
pub fn batch_of(resources: &[Bytes]) -> Bytes {
    let input = |(n, json): (usize, &Bytes)| Input {
        place: Place {
            bytes: 0..0,
            covers: 0..0,
            line: n as u64,
            entry: None,
        },
        resource_type: "Basic".into(),
        ask: Ask::Put {
            id: "00000000-0000-0000-0000-000000000000".into(),
        },
        json: json.clone(),
    };
    let inputs = resources.iter().enumerate().map(input).collect();
    Request::group(inputs, Vec::new()).body()
}
