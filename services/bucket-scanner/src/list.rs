//! A source's objects, in pages.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use stoker_proto::common::v1::Source;
use stoker_shared::object_store::{Listed, ObjectMeta, StoreError, Stores};
use tokio::time::{Instant, timeout_at};

use crate::classify::classify;
use crate::ledger::{FoundObject, Issue, Page};

/// A page that fills slowly is handed on after so long: loading begins while the listing goes on,
/// and the scanner's leave is renewed.
const PAGE_TIME: Duration = Duration::from_secs(2);

/// Longest key the ledger keeps, in bytes: PostgreSQL's indexes take no longer ones. (S3 allows 1024.)
const MAX_KEY_BYTES: usize = 2000;

/// A listing under way.
pub(crate) struct Listing {
    items: BoxStream<'static, Result<Listed, StoreError>>,
    ended: bool,
}

impl Listing {
    /// Begins to list a source.
    pub(crate) fn of(stores: &Stores, source: &Source) -> Result<Self, StoreError> {
        let items = stores.open(source)?.list();
        Ok(Self {
            items,
            ended: false,
        })
    }

    /// The next page; none after the last. A page may be empty.
    pub(crate) async fn next(&mut self) -> Result<Option<Page>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let mut page = Page::default();
        let deadline = Instant::now() + PAGE_TIME;
        while page.objects.len() + page.issues.len() < Page::MAX_OBJECTS {
            match timeout_at(deadline, self.items.next()).await {
                Err(_late) => break,
                Ok(Some(item)) => add(&mut page, item?),
                Ok(None) => {
                    self.ended = true;
                    break;
                }
            }
        }
        Ok(Some(page))
    }
}

impl std::fmt::Debug for Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listing")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Puts an item where it belongs: to load, to tell the user about, or to count.
fn add(page: &mut Page, item: Listed) {
    let meta = match item {
        Listed::Object(meta) => meta,
        Listed::Unlistable { name, reason } => {
            let unreadable = true;
            return page.issues.push(Issue {
                name,
                reason,
                unreadable,
            });
        }
    };
    let Some((file_type, compression)) = classify(&meta.key) else {
        page.ignored += 1;
        return;
    };
    if let Some(reason) = trouble(&meta) {
        let issue = Issue {
            name: meta.key.clone(),
            reason: reason.to_owned(),
            unreadable: !is_keepable(&meta.key),
        };
        page.issues.push(issue);
    }
    if is_keepable(&meta.key) {
        page.objects.push(FoundObject {
            bucket_name: meta.bucket_name,
            key: meta.key,
            size: meta.size,
            etag: meta.etag,
            last_modified: meta.last_modified,
            file_type,
            compression,
            // Only its bytes can tell: see `frames`.
            several_frames: false,
        });
    }
}

fn is_keepable(key: &str) -> bool {
    key.len() <= MAX_KEY_BYTES && !key.contains('\0')
}

fn trouble(meta: &ObjectMeta) -> Option<&'static str> {
    if !is_keepable(&meta.key) {
        Some("its name is longer than 2000 bytes or holds a zero byte; rename it")
    } else if meta.size == 0 {
        Some("empty file, nothing to load")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn object(key: &str, size: u64) -> Listed {
        Listed::Object(ObjectMeta {
            bucket_name: ":local".to_owned(),
            key: key.to_owned(),
            size,
            etag: String::new(),
            last_modified: DateTime::UNIX_EPOCH,
        })
    }

    #[test]
    fn nothing_is_passed_over_in_silence() {
        let mut page = Page::default();
        let long = format!("{}.json", "x".repeat(MAX_KEY_BYTES));
        let odd = Listed::Unlistable {
            name: "?".to_owned(),
            reason: "why".to_owned(),
        };
        for item in [
            object("a.ndjson", 5),
            object("empty.json", 0),
            object("readme.txt", 5),
            object(&long, 5),
            object("zero\0.json", 5),
            odd,
        ] {
            add(&mut page, item);
        }
        let keys: Vec<_> = page.objects.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(keys, ["a.ndjson", "empty.json"]);
        assert_eq!(page.ignored, 1);
        let issues: Vec<_> = page
            .issues
            .iter()
            .map(|i| (i.name.as_str(), i.unreadable))
            .collect();
        let expected = [
            ("empty.json", false),
            (&long, true),
            ("zero\0.json", true),
            ("?", true),
        ];
        assert_eq!(issues, expected);
    }

    #[tokio::test]
    async fn a_folder_comes_in_pages() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..Page::MAX_OBJECTS + 7 {
            std::fs::write(folder.path().join(format!("{n}.json")), "{}").unwrap();
        }
        let uri = format!("file://{}", folder.path().display());
        let source = Source {
            uri,
            reach: String::new(),
        };
        let mut listing = Listing::of(&Stores::default(), &source).unwrap();
        let mut sizes = Vec::new();
        while let Some(page) = listing.next().await.unwrap() {
            sizes.push(page.objects.len());
        }
        assert_eq!(sizes, [Page::MAX_OBJECTS, 7]);
    }
}
