//! Whether a target is one: a FHIR server, or a place that large Bundles are broken up into.

use stoker_proto::common::v1::Source;
use stoker_shared::object_store::{Place, Stores};
use url::Url;

/// Spells the target the one way that the ledger knows it by; says what is wrong with it, for a person.
pub(super) fn check(source: &Source, base_url: &mut String) -> Result<(), String> {
    spell(base_url);
    if Place::is_one(base_url) {
        return check_place(source, base_url);
    }
    let wrong = |why: &str| Err(format!("the target's base URL {why}"));
    match Url::parse(base_url) {
        Err(e) => wrong(&format!("is not one: {e}")),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => wrong(
            "must begin with http:// or https://; s3:// and file:// name places to break Bundles up into",
        ),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("must hold no user or password; workers have their own")
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            wrong("must end with its path")
        }
        Ok(_) => Ok(()),
    }
}

/// The one way that the ledger knows a base URL by.
pub(super) fn spell(base_url: &mut String) {
    base_url.truncate(base_url.trim_end_matches('/').len());
}

fn check_place(source: &Source, uri: &str) -> Result<(), String> {
    Stores::default().place(uri).map_err(|_| {
        format!("{uri}: is no place to write to; give s3://bucket/prefix or file:///folder")
    })?;
    if let Some(path) = uri.strip_prefix("file://")
        && !path.starts_with('/')
    {
        return Err(format!(
            "{uri}: is not an absolute path; a folder is file:///and/its/path"
        ));
    }
    // What is written there would be found there, and broken up again, for ever.
    if lies_in(uri, &source.uri) {
        return Err(format!(
            "{uri}: lies in {}, which is read; what is written there would be read again",
            source.uri
        ));
    }
    Ok(())
}

/// Whether what is written to `uri` is found below `source`. A prefix in a bucket is a text, no folder.
fn lies_in(uri: &str, source: &str) -> bool {
    let written = format!("{uri}/");
    if source.starts_with("file://") {
        return written.starts_with(&format!("{}/", source.trim_end_matches('/')));
    }
    match source
        .strip_prefix("s3://")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((bucket, prefix)) => {
            let written = written.strip_prefix(&format!("s3://{bucket}/"));
            written.is_some_and(|key| key.starts_with(prefix) || prefix.starts_with(key))
        }
        None => written.starts_with(&format!("{source}/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(source: &str, target: &str) -> Option<String> {
        let source = Source {
            uri: source.to_owned(),
            reach: String::new(),
        };
        check(&source, &mut target.to_owned()).err()
    }

    #[test]
    fn places_to_write_to_are_targets() {
        for (source, target) in [
            ("s3://in/x", "s3://out"),
            ("s3://in/x/", "s3://in/y/"),
            ("s3://in", "file:///out"),
            ("file:///in", "file:///input/"),
            ("file:///in", "s3://in"),
        ] {
            assert_eq!(problem(source, target), None, "{source} {target}");
        }
    }

    #[test]
    fn what_is_written_is_not_read_again() {
        for (source, target) in [
            ("s3://in/x", "s3://in/x-out"),
            ("s3://in/a/b", "s3://in/a"),
            ("s3://in", "s3://in/out"),
            ("s3://in/", "s3://in/out"),
            ("s3://in/a", "s3://in"),
            ("file:///in", "file:///in/out"),
            ("file:///in", "file:///in/"),
            ("file:///", "file:///out"),
        ] {
            let problem = problem(source, target).unwrap_or_default();
            assert!(
                problem.contains("read again"),
                "{source} {target} {problem}"
            );
        }
        for target in ["s3://", "s3:///x", "file://out"] {
            assert!(problem("s3://in", target).is_some(), "{target}");
        }
    }
}
