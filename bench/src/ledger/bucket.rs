//! An S3 service whose buckets hold as many objects as their names say, and that can only be listed.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;

/// A folder has so many objects.
const OBJECTS_PER_FOLDER: u64 = 10_000;

/// Made-up buckets, for as long as the runtime lives.
#[derive(Debug)]
pub struct Bucket {
    /// Where the service listens.
    pub endpoint: String,
}

impl Bucket {
    /// Begins to serve.
    pub async fn serve() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let routes = Router::new()
            .route("/{bucket}", get(list))
            .route("/{bucket}/", get(list));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { endpoint })
    }

    /// A source of so many objects.
    pub fn uri(objects: u64) -> String {
        format!("s3://objects-{objects}/")
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Wanted {
    max_keys: u64,
    /// The number of the first object.
    #[serde(default)]
    continuation_token: u64,
}

/// `ListObjectsV2`, as far as Stoker asks for it.
async fn list(
    Path(bucket): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<String, StatusCode> {
    let objects = bucket.strip_prefix("objects-");
    let objects: u64 = objects
        .and_then(|number| number.parse().ok())
        .ok_or(StatusCode::NOT_FOUND)?;
    let end = (wanted.continuation_token + wanted.max_keys).min(objects);
    Ok(page(wanted.continuation_token, end, objects))
}

fn page(start: u64, end: u64, objects: u64) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
    );
    let more = end < objects;
    // Writing to a text cannot fail.
    let _ = write!(xml, "<IsTruncated>{more}</IsTruncated>");
    if more {
        let _ = write!(xml, "<NextContinuationToken>{end}</NextContinuationToken>");
    }
    for n in start..end {
        let folder = n / OBJECTS_PER_FOLDER;
        let _ = write!(
            xml,
            "<Contents><Key>export/{folder:04}/{n:08}.ndjson</Key>\
             <LastModified>2024-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;{n:032x}&quot;</ETag><Size>{}</Size></Contents>",
            100_000 + n
        );
    }
    xml.push_str("</ListBucketResult>");
    xml
}
