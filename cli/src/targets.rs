//! What the user names as a target, as the ledger knows it.

use anyhow::{Context as _, bail};
use stoker_proto::common::v1::Source;
use stoker_shared::object_store::Place;

/// Understands the URL of a FHIR server, a bucket's URI, or a path. A folder need not be there yet.
pub fn parse(text: &str, sources: &[Source]) -> anyhow::Result<String> {
    let is_path =
        text == "." || text == ".." || ["/", "./", "../"].iter().any(|p| text.starts_with(p));
    let url = if is_path || text.starts_with("file://") {
        let path = text.strip_prefix("file://").unwrap_or(text);
        let path = absolute(path).with_context(|| format!("{text}: is no path to write to"))?;
        format!("file://{path}")
    } else {
        text.to_owned()
    };
    let url = url.trim_end_matches('/').to_owned();
    if Place::is_one(&url) && sources.len() > 1 {
        bail!(
            "{text}: what is written there is named after what is read, so that files of the same name in two \
             sources would overwrite each other; give one source at a time, and each a place of its own"
        );
    }
    Ok(url)
}

/// The absolute path, without steps upwards, since the folder it steps out of may not be there.
fn absolute(path: &str) -> anyhow::Result<String> {
    let mut whole = std::path::PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            std::path::Component::ParentDir => {
                whole.pop();
            }
            other => whole.push(other),
        }
    }
    let text = whole.to_str().context("its name is not UTF-8")?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Source {
        Source::default()
    }

    #[test]
    fn a_folder_becomes_an_absolute_uri_and_a_server_stays() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        for (text, expected) in [
            ("http://fhir/r4/", "http://fhir/r4".to_owned()),
            ("localhost:80", "localhost:80".to_owned()),
            ("s3://out/x/", "s3://out/x".to_owned()),
            ("./no-such/../out/", format!("file://{here}/out")),
            ("file:///out/", "file:///out".to_owned()),
            ("/out", "file:///out".to_owned()),
        ] {
            assert_eq!(parse(text, &[one()]).unwrap(), expected);
        }
    }

    #[test]
    fn a_place_takes_one_source() {
        let error = parse("s3://out", &[one(), one()]).unwrap_err().to_string();
        assert!(error.contains("overwrite each other"), "{error}");
        assert!(parse("http://fhir", &[one(), one()]).is_ok());
    }
}
