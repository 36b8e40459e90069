//! Folders and buckets: can be listed, and what is in them read.

use futures::StreamExt as _;
use stoker_proto::common::v1::Source;
use stoker_shared::object_store::{Listed, ObjectMeta, ObjectStore, S3Config, StoreError, Stores};

use super::Check;
use super::finding::{Finding, in_time};
use crate::embedded::unexpected;
use crate::output::one_sentence;
use crate::sources;

/// A source to be looked at.
#[derive(Debug, Clone)]
pub(super) enum Named {
    /// As a person names it.
    Given(String),
    Configured(Source),
}

impl Named {
    fn shown(&self) -> &str {
        match self {
            Self::Given(text) => text,
            Self::Configured(source) => source.uri.strip_prefix("file://").unwrap_or(&source.uri),
        }
    }
}

pub(super) fn checks(sources: Vec<Named>, s3: &[S3Config], is_sound: bool) -> Vec<Check> {
    if sources.is_empty() {
        let to_do = "--source NAME looks at one";
        let detail = "none are named or configured";
        let finding = Finding::none("sources", is_sound, detail, to_do);
        return vec![Check::known(finding)];
    }
    let mut checks = Vec::new();
    for source in sources {
        // A folder has no settings that could differ.
        let is_bucket = source.shown().starts_with("s3://");
        let ways = s3.iter().take(if is_bucket { s3.len() } else { 1 });
        for s3 in ways {
            let what = source.shown().to_owned();
            checks.push(Check::new(&what, check(source.clone(), s3.clone())));
        }
    }
    checks
}

/// As the scanner knows it.
async fn found(named: Named) -> Result<Source, Finding> {
    let text = match named {
        Named::Configured(source) => return Ok(source),
        Named::Given(text) => text,
    };
    let asked = text.clone();
    let parsed = tokio::task::spawn_blocking(move || sources::parse(&asked, None)).await;
    let parsed = parsed.map_err(unexpected).flatten();
    parsed.map_err(|e| Finding::error(&text, one_sentence(&e)))
}

async fn check(named: Named, s3: S3Config) -> Vec<Finding> {
    let what = named.shown().to_owned();
    let what = what.as_str();
    let source = match in_time(what, found(named)).await {
        Err(late) => return late,
        Ok(Err(finding)) => return vec![finding],
        Ok(Ok(source)) => source,
    };
    let stores = Stores::new(S3Config { max_keys: 1, ..s3 });
    let looked = async {
        let store = stores.open(&source)?;
        let mut listing = store.list();
        // A page without an object is followed by others, and may also hold what is no object.
        while let Some(listed) = listing.next().await {
            if let Listed::Object(object) = listed? {
                read_a_little(&*store, &object).await?;
                return Ok(Some(object));
            }
        }
        Ok::<_, StoreError>(None)
    };
    let finding = match in_time(what, looked).await {
        Err(late) => return late,
        Ok(Err(error)) => Finding::error(what, error),
        Ok(Ok(Some(object))) => {
            let detail = format!("can be listed and read, e.g. {}", object.key);
            Finding::ok(what, detail)
        }
        Ok(Ok(None)) => Finding::warn(what, "can be listed, holds nothing", "check the name"),
    };
    vec![finding]
}

/// Listing and reading are two rights.
async fn read_a_little(store: &dyn ObjectStore, object: &ObjectMeta) -> Result<(), StoreError> {
    if object.size == 0 {
        return Ok(());
    }
    let mut bytes = store.get(&object.key, 0..1).await?;
    while let Some(chunk) = bytes.next().await {
        chunk?;
    }
    Ok(())
}
