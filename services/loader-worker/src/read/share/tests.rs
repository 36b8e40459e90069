use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use stoker_proto::common::v1::{ByteRange, FileType, Interaction};
use stoker_shared::object_store::Folder;
use stoker_shared::ranges::RangeSet;

use super::*;
use crate::read::{BatchSize, DecodeError, Piece, Reading, start};
use crate::texts::Texts;

/// A line's first byte in the whole content, and its text.
type Found = Vec<(u64, Vec<u8>)>;

fn frame(content: &[u8], level: i32, checksum: bool) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), level).unwrap();
    encoder.include_checksum(checksum).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn skippable(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    let magic = 0x184D_2A53_u32.to_le_bytes();
    [&magic[..], &length.to_le_bytes(), content].concat()
}

/// A file, and how its chunks are cut when it is read.
struct Object {
    folder: tempfile::TempDir,
    version: ObjectVersion,
    stored: Vec<u8>,
    chunk: usize,
}

/// What became of one unit.
#[derive(Debug, Default, PartialEq)]
struct Loaded {
    /// Offsets count from the unit's first frame.
    found: Found,
    covers: Vec<Range<u64>>,
    lines: u64,
    decoded_bytes: u64,
    broken: Option<String>,
}

impl Object {
    fn new(stored: Vec<u8>, chunk: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.ndjson.zst");
        std::fs::write(&file, &stored).unwrap();
        let version = ObjectVersion {
            key: file.to_str().unwrap().to_owned(),
            size: stored.len() as u64,
            file_type: FileType::Ndjson.into(),
            compression: Compression::Zstd.into(),
            ..ObjectVersion::default()
        };
        Self {
            folder,
            version,
            stored,
            chunk,
        }
    }

    fn from(&self, start: u64) -> Vec<Result<Bytes, StoreError>> {
        let stored = &self.stored[usize::try_from(start).unwrap()..];
        let chunks = stored.chunks(self.chunk);
        chunks.map(|c| Ok(Bytes::copy_from_slice(c))).collect()
    }

    async fn load(&self, range: Range<u64>, done: RangeSet) -> Loaded {
        let unit = Unit {
            range: Some(ByteRange {
                start: range.start,
                end: range.end,
            }),
            ..Unit::default()
        };
        let store = Folder::new(self.folder.path());
        let read = AtomicU64::new(0);
        let share = Share::of(&unit, &self.version, &store, &read).await;
        let share = share.unwrap();
        if range.start > 0 {
            let bytes = futures::stream::iter(self.from(range.start)).boxed();
            let found = first_frame(bytes, range, &read).await;
            assert_eq!(share.map(|s| s.from), found.unwrap(), "however it is cut");
        }
        let Some(share) = share else {
            return Loaded::default();
        };
        let stored = Box::new(self.from(share.from).into_iter());
        let mut pieces = start(reading(share, done), stored, Arc::default());
        let mut loaded = Loaded::default();
        while let Some(piece) = pieces.recv().await {
            loaded.note(piece);
        }
        loaded.found.sort();
        loaded
    }
}

impl Loaded {
    fn note(&mut self, piece: Piece) {
        match piece {
            Piece::Request(request) => {
                for input in request.inputs {
                    let found = (input.place.bytes.start, input.json.to_vec());
                    self.found.push(found);
                    self.covers.push(input.place.covers);
                }
            }
            Piece::End {
                lines,
                decoded_bytes,
            } => (self.lines, self.decoded_bytes) = (lines, decoded_bytes),
            Piece::Broken(e @ DecodeError::Damaged(_)) => self.broken = Some(e.to_string()),
            other => panic!("{other:?}"),
        }
    }
}

fn reading(share: Share, done: RangeSet) -> Reading {
    Reading {
        file_type: FileType::Ndjson,
        compression: Compression::Zstd,
        interaction: Interaction::Auto,
        share,
        done,
        batch: BatchSize::Fixed(3),
        batch_bytes: 1 << 20,
        transactions: true,
        whole: false,
        in_flight: None,
        texts: Texts::new(1 << 20),
        memory: None,
        stored_bytes: u64::MAX,
        max_document_bytes: 1 << 20,
    }
}

/// NDJSON with lines whose texts are of some lengths; none for a blank line.
fn content(lines: &[Option<usize>], ends: bool) -> Vec<u8> {
    let mut content = Vec::new();
    for (n, text) in lines.iter().enumerate() {
        if let Some(length) = text {
            let text = "é".repeat(*length);
            let line = format!("{{\"resourceType\":\"Basic\",\"id\":\"{n}\",\"x\":\"{text}\"}}");
            content.extend_from_slice(line.as_bytes());
        }
        content.extend_from_slice(if n % 5 == 4 { b"\r\n" } else { b"\n" });
    }
    if !ends && content.last() == Some(&b'\n') {
        content.pop();
    }
    content
}

/// What a reader of the whole content finds, and how many lines.
fn expected(content: &[u8]) -> (Found, u64) {
    let (mut found, mut at, mut lines) = (Vec::new(), 0, 0);
    for line in content.split_inclusive(|b| *b == b'\n') {
        let text = line.trim_ascii();
        if !text.is_empty() {
            found.push((at, text.to_vec()));
        }
        at += line.len() as u64;
        lines += 1;
    }
    (found, lines)
}

/// The content cut into frames at some places, other things between them; and where frames begin.
fn stored(content: &[u8], cuts: &[prop::sample::Index], kinds: &[u8]) -> (Vec<u8>, Vec<u64>) {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(content.len() + 1)).collect();
    cuts.extend([0, content.len()]);
    cuts.sort_unstable();
    let (mut stored, mut starts) = (Vec::new(), Vec::new());
    for (n, part) in cuts.windows(2).enumerate() {
        let kind = kinds[n % kinds.len()];
        if kind.is_multiple_of(4) {
            stored.extend(skippable(&vec![kind; usize::from(kind) * 3]));
        }
        starts.push(stored.len() as u64);
        let level = if kind & 4 == 0 { 1 } else { 9 };
        stored.extend(frame(&content[part[0]..part[1]], level, kind & 8 == 0));
    }
    if kinds[0] & 1 == 0 {
        stored.extend(skippable(b"a table"));
    }
    (stored, starts)
}

/// Ranges that begin anywhere, and some at frames or beside them.
fn ranges(size: u64, starts: &[u64], cuts: &[(prop::sample::Index, u64)]) -> Vec<Range<u64>> {
    let mut borders = vec![0, size];
    for (n, (anywhere, beside)) in cuts.iter().enumerate() {
        let at = if n % 2 == 0 {
            anywhere.index(stored_len(size)) as u64
        } else {
            (starts[anywhere.index(starts.len())] + beside).saturating_sub(2)
        };
        borders.push(at.min(size));
    }
    borders.sort_unstable();
    borders.dedup();
    borders.windows(2).map(|b| b[0]..b[1]).collect()
}

fn stored_len(size: u64) -> usize {
    usize::try_from(size).unwrap()
}

/// Loads all units, each once more with a part of it done; puts together what they find.
async fn load_all(object: &Object, ranges: &[Range<u64>]) -> (Found, u64, u64) {
    let (mut all, mut lines, mut decoded) = (Vec::new(), 0, 0);
    for range in ranges {
        let loaded = object.load(range.clone(), RangeSet::new()).await;
        assert_eq!(loaded.broken, None, "{range:?}");
        let half = loaded.found.len() / 2;
        let done = loaded.covers.iter().take(half).cloned().collect();
        let again = object.load(range.clone(), done).await;
        assert_eq!(again.found, loaded.found[half..], "the other half");
        assert_eq!(again.decoded_bytes, loaded.decoded_bytes);
        let found = loaded.found.into_iter();
        all.extend(found.map(|(at, text)| (decoded + at, text)));
        lines += loaded.lines;
        decoded += loaded.decoded_bytes;
    }
    (all, lines, decoded)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn units_of_frames_hold_each_line_once(
        lines in prop::collection::vec(prop::option::weighted(0.9, 0..900_usize), 1..40),
        ends in any::<bool>(),
        frames in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        kinds in prop::collection::vec(any::<u8>(), 1..20),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u64), 1..12),
        chunk in 1..700_usize,
    ) {
        let content = content(&lines, ends);
        let (stored, starts) = stored(&content, &frames, &kinds);
        let ranges = ranges(stored.len() as u64, &starts, &cuts);
        let object = Object::new(stored, chunk);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (found, count, decoded) = runtime.block_on(load_all(&object, &ranges));
        let (expected, lines) = expected(&content);
        prop_assert_eq!(found, expected);
        prop_assert_eq!((count, decoded), (lines, content.len() as u64));
    }
}

/// Every way to share an object between two workers, and what becomes of it.
async fn in_two(object: &Object) -> Vec<[Loaded; 2]> {
    let size = object.stored.len() as u64;
    let mut all = Vec::new();
    for cut in 1..size {
        let first = object.load(0..cut, RangeSet::new()).await;
        let second = object.load(cut..size, RangeSet::new()).await;
        all.push([first, second]);
    }
    all
}

#[tokio::test]
async fn damage_is_always_told_by_one_of_the_units() {
    let line = |id: u32| format!("{{\"resourceType\":\"Basic\",\"id\":\"{id}\"}}\n");
    let frames = [1, 2, 3].map(|id| frame(line(id).as_bytes(), 1, true));
    let whole = frames.concat();
    let cut_short = |bytes: usize| whole[..whole.len() - bytes].to_vec();
    let garbage = [&frames[0][..], b"garbage", &frames[1], &frames[2]].concat();
    let at_end = [&whole[..], b"\0\0\0"].concat();
    let broken = [
        cut_short(1),
        cut_short(frames[2].len() - 1),
        cut_short(frames[2].len() - 6),
        garbage,
        at_end,
    ];
    for (n, stored) in broken.into_iter().enumerate() {
        let object = Object::new(stored, 7);
        for units in in_two(&object).await {
            let told = units.iter().any(|unit| unit.broken.is_some());
            assert!(told, "{n}: {units:?}");
            let found: Vec<_> = units.iter().flat_map(|unit| &unit.found).collect();
            let texts: std::collections::HashSet<_> = found.iter().map(|(_, text)| text).collect();
            assert_eq!(texts.len(), found.len(), "{n}: none twice");
        }
    }
}

#[tokio::test]
async fn a_frame_hidden_in_another_one_is_told() {
    let line = |id: u32| format!("{{\"resourceType\":\"Basic\",\"id\":\"{id}\"}}\n");
    let [first, hidden, last] = [1, 2, 3].map(|id| frame(line(id).as_bytes(), 1, true));
    let cover = skippable(&hidden);
    let at = first.len() + cover.len() - hidden.len();
    let object = Object::new([first, cover, last].concat(), 7);
    let mut misled = 0;
    for (cut, [unit, next]) in (1..).zip(in_two(&object).await) {
        let sees_it = next.found.iter().any(|(_, text)| text.ends_with(b"\"2\"}"));
        assert!(!sees_it, "it is all before the first line end");
        let begins_there = cut > at - 8 && cut <= at;
        assert_eq!(
            unit.broken.is_some(),
            begins_there,
            "cut at {cut}: {unit:?}"
        );
        misled += u32::from(begins_there);
    }
    assert!(misled > 0);
}
