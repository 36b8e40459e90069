//! What the user names as a source, as the scanner knows it.

use std::path::Path;

use anyhow::{Context as _, bail};
use stoker_proto::common::v1::Source;
use stoker_shared::object_store::host_name;

/// Understands a bucket's URI, or a path; checks that a path is there and can be read. With the name of a shared mount, all
/// hosts that have the mount at the same path name the same source.
pub fn parse(text: &str, shared_mount: Option<&str>) -> anyhow::Result<Source> {
    match text.split_once("://") {
        Some(("s3", rest)) if !rest.is_empty() && !rest.starts_with('/') => {
            return Ok(Source {
                uri: text.to_owned(),
                reach: String::new(),
            });
        }
        Some((scheme, _)) if scheme != "file" => bail!(
            "{text}: is not a source Stoker can read; give a folder, a file or s3://bucket/prefix"
        ),
        _ => {}
    }
    if text == "-" {
        bail!(
            "standard input is not a source Stoker can read; give a folder, a file or s3://bucket/prefix"
        );
    }
    let path = Path::new(text.strip_prefix("file://").unwrap_or(text));
    let path = path
        .canonicalize()
        .with_context(|| format!("{text}: cannot be read; check the path"))?;
    readable(&path).with_context(|| {
        format!("{text}: cannot be read; give the user that runs stoker the right to read it")
    })?;
    let Some(path) = path.to_str() else {
        bail!("{}: its name is not UTF-8; rename it", path.display());
    };
    Ok(Source {
        uri: format!("file://{path}"),
        reach: shared_mount.map_or_else(host_name, str::to_owned),
    })
}

fn readable(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        std::fs::read_dir(path).map(drop)
    } else {
        std::fs::File::open(path).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_an_absolute_uri() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("with space");
        std::fs::create_dir(&inner).unwrap();
        let source = parse(&format!("{}/../with space", inner.display()), None).unwrap();
        assert!(source.uri.starts_with("file:///") && source.uri.ends_with("/with space"));
        assert_eq!(source.reach, host_name());
        let shared = parse(inner.to_str().unwrap(), Some("nas")).unwrap();
        assert_eq!(
            (shared.uri, shared.reach.as_str()),
            (source.uri, "nas"),
            "the same on every host"
        );
    }

    #[test]
    fn a_bucket_is_the_same_source_for_everyone() {
        let source = parse("s3://bucket/in/", Some("nas")).unwrap();
        assert_eq!(
            (source.uri.as_str(), source.reach.as_str()),
            ("s3://bucket/in/", "")
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in ["/no/such/folder", "ftp://host/x", "s3:///x", "-"] {
            let error = format!("{:#}", parse(text, None).unwrap_err());
            assert!(
                error.contains("cannot be read") || error.contains("can read"),
                "{error}"
            );
        }
    }
}
