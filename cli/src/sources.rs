//! What the user names as a source, as the scanner knows it.

use std::path::Path;

use anyhow::{Context as _, bail};
use stoker_proto::common::v1::Source;
use stoker_shared::object_store::host_name;

/// Understands a path; checks that it is there and can be read.
pub fn parse(text: &str) -> anyhow::Result<Source> {
    if let Some((scheme, _)) = text.split_once("://")
        && scheme != "file"
    {
        bail!("{text}: {scheme}:// is not a source Stoker can read; give a folder or a file");
    }
    if text == "-" {
        bail!("standard input is not a source Stoker can read; give a folder or a file");
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
        reach: host_name(),
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
        let source = parse(&format!("{}/../with space", inner.display())).unwrap();
        assert!(source.uri.starts_with("file:///") && source.uri.ends_with("/with space"));
        assert!(!source.reach.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in ["/no/such/folder", "s3://bucket/x", "-"] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(
                error.contains("cannot be read") || error.contains("can read"),
                "{error}"
            );
        }
    }
}
