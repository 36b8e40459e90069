//! Whether a large zstd object is of several frames, told from little of it.

use std::time::Duration;

use futures::StreamExt;
use stoker_shared::frames::Frames;
use stoker_shared::object_store::{ObjectStore, StoreError};
use tokio::time::{Instant, timeout_at};

use crate::ledger::{FoundObject, Page};

/// Frames that take more stored bytes than these are not looked for one by one.
const HEAD: u64 = 4 << 20;

/// Objects looked at at one time.
const AT_ONCE: usize = 8;

/// For all objects of a page, which nobody loads before.
const LIMIT: Duration = Duration::from_secs(5);

/// End of a seek table: number of frames, a byte of flags, magic.
/// https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
const FOOTER: u64 = 9;
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;

/// Notes of some objects of a page whether they are of several frames. What cannot be read, or takes too long, is
/// taken for one frame: it is loaded by one worker, which sees what is wrong with it.
pub(crate) async fn look(store: &dyn ObjectStore, page: &mut Page, places: &[usize]) {
    let deadline = Instant::now() + LIMIT;
    let objects = page.objects.iter_mut().enumerate();
    let wanted = objects.filter(|(place, _)| places.contains(place));
    let looks = wanted.map(|(_, object)| async {
        match timeout_at(deadline, has_several(store, object)).await {
            Ok(Ok(several)) => object.several_frames = several,
            Ok(Err(e)) => {
                tracing::debug!(
                    reason = e.without_name(),
                    "an object's frames are not known"
                );
            }
            Err(_late) => tracing::debug!("an object's frames are not known in time"),
        }
    });
    let looks: Vec<_> = looks.collect();
    futures::stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

/// By a seek table at its end; by the sizes in its first frame's header; or by the first [`HEAD`] bytes. So an
/// object of frames that are larger than these, few, and without a seek table is taken for one.
async fn has_several(store: &dyn ObjectStore, object: &FoundObject) -> Result<bool, StoreError> {
    if let Some(frames) = seek_table(store, object).await? {
        return Ok(frames > 1);
    }
    let mut head = store.get(&object.key, 0..object.size.min(HEAD)).await?;
    let (mut frames, mut begun) = (Frames::new(0), 0);
    while let Some(chunk) = head.next().await {
        let walked = frames.push(&chunk?, |_| begun += 1);
        if begun > 1 || begun == 1 && has_more_than(frames.content_size(), object.size) {
            return Ok(true);
        }
        if walked.is_err() {
            return Ok(false);
        }
    }
    Ok(false)
}

/// Frames in the seek table, where there is one.
async fn seek_table(
    store: &dyn ObjectStore,
    object: &FoundObject,
) -> Result<Option<u32>, StoreError> {
    let start = object.size.saturating_sub(FOOTER);
    let mut stored = store.get(&object.key, start..object.size).await?;
    let mut footer = Vec::new();
    while let Some(chunk) = stored.next().await {
        footer.extend_from_slice(&chunk?);
    }
    let [a, b, c, d, _flags, magic @ ..] = footer.as_slice() else {
        return Ok(None);
    };
    let is_one = magic == FOOTER_MAGIC.to_le_bytes();
    Ok(is_one.then(|| u32::from_le_bytes([*a, *b, *c, *d])))
}

/// Whether an object holds more than one frame of so much content can take: zstd makes none larger than its
/// content and 1/256 of it.
fn has_more_than(content: Option<u64>, size: u64) -> bool {
    content.is_some_and(|content| size > content.saturating_add(content >> 8).saturating_add(HEAD))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use chrono::DateTime;
    use stoker_proto::common::v1::{Compression, FileType};
    use stoker_shared::object_store::Folder;

    use super::*;

    fn frame(content: &[u8], sized: bool) -> Vec<u8> {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        if sized {
            let size = content.len() as u64;
            encoder.set_pledged_src_size(Some(size)).unwrap();
        }
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// What zstd cannot make smaller.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |state: &mut u64| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            state.to_le_bytes()
        };
        (0..length / 8).flat_map(|_| next(&mut state)).collect()
    }

    fn skippable(content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        let magic = 0x184D_2A5E_u32.to_le_bytes();
        [&magic[..], &length.to_le_bytes(), content].concat()
    }

    fn table(frames: u32) -> Vec<u8> {
        let mut table = vec![0; 8 * frames as usize];
        table.extend_from_slice(&frames.to_le_bytes());
        table.push(0);
        table.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
        skippable(&table)
    }

    /// Whether each of some objects is found to be of several frames.
    async fn found(contents: &[Vec<u8>]) -> Vec<bool> {
        let folder = tempfile::tempdir().unwrap();
        let objects = contents.iter().enumerate().map(|(n, content)| {
            let file = folder.path().join(format!("{n}.ndjson.zst"));
            std::fs::write(&file, content).unwrap();
            FoundObject {
                bucket_name: ":local".to_owned(),
                key: file.to_str().unwrap().to_owned(),
                size: content.len() as u64,
                etag: String::new(),
                last_modified: DateTime::UNIX_EPOCH,
                file_type: FileType::Ndjson,
                compression: Compression::Zstd,
                several_frames: false,
            }
        });
        let mut page = Page {
            objects: objects.collect(),
            ..Page::default()
        };
        let places: Vec<usize> = (0..contents.len()).collect();
        look(&Folder::new(folder.path()), &mut page, &places).await;
        page.objects.iter().map(|o| o.several_frames).collect()
    }

    #[tokio::test]
    async fn several_frames_are_told_from_one() {
        let large = usize::try_from(HEAD).unwrap() + (1 << 20);
        let (small, big) = (frame(&noise(8000), false), frame(&noise(large), false));
        let big_sized = frame(&noise(large), true);
        let cases = [
            (vec![], false),
            (b"no zstd at all".to_vec(), false),
            (small.clone(), false),
            (small.repeat(2), true),
            ([skippable(b"size"), small.clone()].concat(), false),
            ([small.clone(), skippable(b"end")].concat(), false),
            (big.clone(), false),
            (big_sized.clone(), false),
            // Its end is out of sight, and nothing says what it holds.
            (big.repeat(2), false),
            (big_sized.repeat(2), true),
            ([big.repeat(2), table(2)].concat(), true),
            ([big, table(1)].concat(), false),
            ([small.clone(), small[..5].to_vec()].concat(), true),
        ];
        let contents: Vec<Vec<u8>> = cases.iter().map(|(content, _)| content.clone()).collect();
        let expected: Vec<bool> = cases.iter().map(|(_, several)| *several).collect();
        assert_eq!(found(&contents).await, expected);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut page = Page::default();
        page.objects.push(FoundObject {
            bucket_name: ":local".to_owned(),
            key: "/no/such/file".to_owned(),
            size: 1 << 30,
            etag: String::new(),
            last_modified: DateTime::UNIX_EPOCH,
            file_type: FileType::Ndjson,
            compression: Compression::Zstd,
            several_frames: false,
        });
        look(&Folder::new(folder.path()), &mut page, &[0]).await;
        assert!(!page.objects[0].several_frames);
    }
}
