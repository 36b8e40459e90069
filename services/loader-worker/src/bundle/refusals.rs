//! What servers say when something that a resource refers to is not there.

use memchr::memmem;

use crate::outcome::Refusal;

/// Words that say so: HAPI FHIR's of a literal and of a conditional reference, LinuxForHealth's, the
/// sandbox's, and Google's.
const WORDS: [&[u8]; 5] = [
    b"not found, specified in path",
    b"No resources match this search",
    b"Error resolving conditional reference",
    b"which is not there",
    b"reference_not_found",
];

/// Whether a resource was refused because something it refers to is not there: it may come yet.
pub(crate) fn misses_a_reference(why: &Refusal) -> bool {
    let texts = [why.text.as_bytes(), &why.operation_outcome];
    let says = |word: &&[u8]| texts.iter().any(|text| memmem::find(text, word).is_some());
    matches!(why.status, 400 | 404 | 409 | 412 | 422) && WORDS.iter().any(says)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn only_a_missing_resource_may_come_yet() {
        let misses =
            |status, text: &str| misses_a_reference(&Refusal::new(status, text, Bytes::new()));
        for (status, text) in [
            (
                400,
                "HAPI-1094: Resource Organization/a not found, specified in path: Organization.partOf",
            ),
            (
                404,
                "HAPI-1091: Invalid match URL \"Practitioner?identifier=x|1\" - No resources match this search",
            ),
        ] {
            assert!(misses(status, text), "{text}");
            assert!(!misses(500, text), "an error of the server's own");
        }
        for text in [
            "HAPI-1207: Invalid match URL \"Patient?name=x\" - Multiple resources match this search",
            "HAPI-0450: Failed to parse request body",
        ] {
            assert!(!misses(400, text), "{text}");
        }
    }
}
