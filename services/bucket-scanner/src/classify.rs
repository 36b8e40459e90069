//! What an object's name says of its content.

use stoker_proto::common::v1::{Compression, FileType};

/// Type and compression by the name's ending, in upper or lower case: `.json` or `.ndjson`, with
/// `.gz` or `.zst` after it or not. None: the name says it holds no FHIR JSON.
pub(crate) fn classify(key: &str) -> Option<(FileType, Compression)> {
    let (stem, compression) = match split_ending(key)? {
        (stem, "gz") => (stem, Compression::Gzip),
        (stem, "zst") => (stem, Compression::Zstd),
        _ => (key, Compression::None),
    };
    match split_ending(stem)? {
        (_, "ndjson") => Some((FileType::Ndjson, compression)),
        (_, "json") => Some((FileType::Json, compression)),
        _ => None,
    }
}

/// What stands before the last dot, and the known ending after it in lower case.
fn split_ending(name: &str) -> Option<(&str, &'static str)> {
    let (stem, ending) = name.rsplit_once('.')?;
    let known = ["gz", "zst", "ndjson", "json"];
    let ending = known
        .into_iter()
        .find(|known| ending.eq_ignore_ascii_case(known))?;
    Some((stem, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_type_and_compression() {
        let cases = [
            ("/a/b.json", Some((FileType::Json, Compression::None))),
            ("b.NDJSON", Some((FileType::Ndjson, Compression::None))),
            ("b.ndjson.gz", Some((FileType::Ndjson, Compression::Gzip))),
            ("b.Json.Zst", Some((FileType::Json, Compression::Zstd))),
            (
                "患者.ndjson.zst",
                Some((FileType::Ndjson, Compression::Zstd)),
            ),
            ("b.json.bz2", None),
            ("b.gz", None),
            ("b.jsonl", None),
            ("json", None),
            ("b.json/", None),
            ("", None),
        ];
        for (key, expected) in cases {
            assert_eq!(classify(key), expected, "{key}");
        }
    }
}
