//! Places that large Bundles are broken up into: of two sources that write to one, one can overwrite the other.

use stoker_proto::common::v1::Source;
use stoker_shared::object_store::Place;

use crate::ledger::StartJob;

/// What is wrong with a load, for a person, where another source is written to the same target.
pub(crate) fn overwriting(load: &StartJob, other: &Source) -> Option<String> {
    let (source, place) = (&load.source, &load.target.base_url);
    (Place::is_one(place) && may_meet(source, other)).then(|| {
        format!(
            "{place}: what is read from {} could overwrite what is written there of {}, where names are the same; give \
             each source a place of its own, such as {place}/NAME",
            source.uri, other.uri
        )
    })
}

/// Whether two sources can give different objects one name. Names are keys, or paths below the source's folder, so that
/// only within one bucket the same name is the same object.
fn may_meet(source: &Source, other: &Source) -> bool {
    let same_bucket = bucket(source).is_some_and(|b| Some(b) == bucket(other));
    source != other && !same_bucket
}

fn bucket(source: &Source) -> Option<&str> {
    let rest = source.uri.strip_prefix("s3://")?;
    Some(rest.split_once('/').map_or(rest, |(bucket, _)| bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_meet_where_names_can_be_the_same() {
        for (one, other, meet) in [
            ("s3://a", "s3://b", true),
            ("s3://a/x", "s3://ab/x", true),
            ("file:///a", "s3://a", true),
            ("file:///a", "file:///b", true),
            ("s3://a/x", "s3://a/y", false),
            ("s3://a", "s3://a/y", false),
            ("file:///a", "file:///a", false),
        ] {
            let source = |uri: &str| Source {
                uri: uri.to_owned(),
                reach: String::new(),
            };
            let (a, b) = (source(one), source(other));
            assert_eq!(may_meet(&a, &b), meet, "{one} {other}");
            assert_eq!(may_meet(&b, &a), meet, "{other} {one}");
        }
    }
}
