use std::io::Write;

use proptest::prelude::*;

use super::*;

/// One frame of real zstd.
fn frame(content: &[u8], level: i32, checksum: bool, sized: bool) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), level).unwrap();
    encoder.include_checksum(checksum).unwrap();
    encoder.include_contentsize(sized).unwrap();
    if sized {
        encoder
            .set_pledged_src_size(Some(content.len() as u64))
            .unwrap();
    }
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn skippable(nibble: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [
        &(SKIPPABLE | nibble).to_le_bytes()[..],
        &length.to_le_bytes(),
        content,
    ]
    .concat()
}

/// One frame whose content is stored as it is, in one block.
fn stored(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    let block = (length << 3 | 1).to_le_bytes();
    // Single segment, content size of four bytes.
    [
        &MAGIC[..],
        &[0xA0],
        &length.to_le_bytes(),
        &block[..3],
        content,
    ]
    .concat()
}

#[derive(Debug, Clone)]
enum Piece {
    Frame(Vec<u8>),
    Skippable(Vec<u8>),
}

/// Contents that zstd stores as raw, RLE and compressed blocks.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        (any::<u8>(), 0usize..300_000).prop_map(|(byte, n)| vec![byte; n]),
        (1usize..20_000).prop_map(|n| {
            let line = |i: usize| format!("{{\"resourceType\":\"Patient\",\"id\":\"{i}\"}}\n");
            (0..n / 30).map(line).collect::<String>().into_bytes()
        }),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let one = (content(), 1..4i32, any::<bool>(), any::<bool>());
    prop_oneof![
        6 => one.prop_map(|(content, level, checksum, sized)| {
            Piece::Frame(frame(&content, level, checksum, sized))
        }),
        1 => content().prop_map(|c| Piece::Frame(stored(&c[..c.len().min(128 << 10)]))),
        2 => (0..16u32, prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(nibble, content)| Piece::Skippable(skippable(nibble, &content))),
    ]
}

/// The whole object, and where its frames with content begin.
fn assemble(pieces: &[Piece]) -> (Vec<u8>, Vec<u64>) {
    let (mut whole, mut starts) = (Vec::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Frame(bytes) => {
                starts.push(whole.len() as u64);
                whole.extend_from_slice(bytes);
            }
            Piece::Skippable(bytes) => whole.extend_from_slice(bytes),
        }
    }
    (whole, starts)
}

fn scanned(whole: &[u8], chunk: usize) -> (Vec<u64>, bool) {
    let (mut frames, mut found) = (Frames::new(0), Vec::new());
    for bytes in whole.chunks(chunk) {
        frames.push(bytes, |at| found.push(at)).unwrap();
    }
    (found, frames.is_whole())
}

fn first_from(whole: &[u8], from: usize, chunk: usize) -> Option<u64> {
    first_in(whole, from, u64::MAX, chunk)
}

fn first_in(whole: &[u8], from: usize, limit: u64, chunk: usize) -> Option<u64> {
    let mut search = FirstFrame::new(from as u64, limit);
    for bytes in whole[from..].chunks(chunk) {
        match search.push(bytes).unwrap() {
            Search::Found(at) => return Some(at),
            Search::Nothing => return None,
            Search::Open => {}
        }
    }
    search.end()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn frames_are_told_as_they_pass_by(
        pieces in prop::collection::vec(piece(), 1..6), chunk in 1usize..5000
    ) {
        let (whole, starts) = assemble(&pieces);
        prop_assert_eq!(scanned(&whole, chunk), (starts, true));
    }

    #[test]
    fn the_first_frame_after_any_offset_is_found(
        pieces in prop::collection::vec(piece(), 1..6),
        from in any::<prop::sample::Index>(),
        chunk in 1usize..5000,
    ) {
        let (whole, starts) = assemble(&pieces);
        let from = from.index(whole.len());
        let expected = starts.iter().copied().find(|&start| start >= from as u64);
        prop_assert_eq!(first_from(&whole, from, chunk), expected);
        for limit in [from + 1, from + 1000, from + 10_000] {
            let before = |at: &u64| *at < limit as u64;
            let found = first_in(&whole, from, limit as u64, chunk).filter(before);
            prop_assert_eq!(found, expected.filter(before));
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let with_magic = [&MAGIC[..], &bytes].concat();
        let _ = Frames::new(0).push(&with_magic, |_| {});
        prop_assert!(first_from(&with_magic, 0, 7).is_none_or(|at| at <= 300));
    }
}

#[test]
fn zstd_data_within_a_raw_block_is_content() {
    let inner = frame(b"inner", 1, true, true);
    let text: Vec<u8> = [b"before ", &inner[..], b" after"].concat();
    let outer = stored(&text);
    let whole = [&outer[..], &frame(b"next", 1, false, true)].concat();
    assert_eq!(scanned(&whole, 3).0, [0, outer.len() as u64]);
    for from in 1..outer.len() {
        assert_eq!(
            first_from(&whole, from, 5),
            Some(outer.len() as u64),
            "{from}"
        );
    }
}

#[test]
fn a_seek_table_at_the_end_is_no_frame() {
    let frames = [frame(b"one", 1, false, true), frame(b"two", 1, false, true)];
    let mut table: Vec<u8> = Vec::new();
    for (stored, content) in [(frames[0].len(), 3u32), (frames[1].len(), 3)] {
        table.extend_from_slice(&u32::try_from(stored).unwrap().to_le_bytes());
        table.extend_from_slice(&content.to_le_bytes());
    }
    table.extend_from_slice(&[2, 0, 0, 0, 0]);
    table.extend_from_slice(&0x8F92_EAB1_u32.to_le_bytes());
    let second = frames[0].len();
    let whole = [frames.concat(), skippable(0xE, &table)].concat();
    assert_eq!(scanned(&whole, 11), (vec![0, second as u64], true));
    assert_eq!(first_from(&whole, second, 4), Some(second as u64));
    assert_eq!(first_from(&whole, second + 1, 4), None);
}

#[test]
fn damage_is_told() {
    let good = frame(b"good", 1, true, true);
    for bad in [&b"no zstd at all"[..], &[&good[..], b"rest"].concat()] {
        assert_eq!(Frames::new(0).push(bad, |_| {}), Err(NotFrames));
    }
    let (found, whole) = scanned(&good[..good.len() - 1], 100);
    assert_eq!((found.len(), whole), (1, false), "cut short");
    let cut = &[&good[..], &good[..good.len() - 1]].concat();
    assert_eq!(first_from(cut, 1, 100), Some(good.len() as u64));
}

#[test]
fn a_frame_for_every_line_is_not_too_many() {
    let line = frame(b"{\"resourceType\":\"Basic\"}\n", 1, false, true);
    let whole = line.repeat(20_000);
    let second = Some(line.len() as u64);
    assert_eq!(first_from(&whole, 1, whole.len()), second);
    assert_eq!(first_from(&whole, 1, 100), second);
}

#[test]
fn a_header_tells_the_size_of_the_content() {
    for size in [0, 1, 255, 256, 300, 65_791, 65_792, 1 << 20] {
        for (sized, told) in [(true, Some(size as u64)), (false, None)] {
            let mut frames = Frames::new(0);
            let bytes = frame(&vec![b'x'; size], 1, false, sized);
            frames.push(&bytes[..20.min(bytes.len())], |_| {}).unwrap();
            assert_eq!(frames.content_size(), told, "{size}");
        }
    }
}
