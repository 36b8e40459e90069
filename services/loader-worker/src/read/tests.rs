use std::fmt::Write as _;

use stoker_proto::common::v1::{Compression, Interaction};
use stoker_shared::ranges::RangeSet;

use super::*;
use crate::texts::Texts;

fn reading(file_type: FileType) -> Reading {
    Reading {
        file_type,
        compression: Compression::None,
        interaction: Interaction::Auto,
        share: Share::WHOLE,
        done: RangeSet::new(),
        batch: BatchSize::Fixed(3),
        batch_bytes: 1 << 20,
        transactions: true,
        whole: false,
        in_flight: None,
        texts: Texts::new(1 << 20),
        memory: None,
        stored_bytes: u64::MAX,
        max_document_bytes: 1000,
    }
}

async fn pieces(reading: Reading, content: &[u8]) -> Vec<Piece> {
    let chunks: Vec<_> = content
        .chunks(11)
        .map(|c| Ok(Bytes::copy_from_slice(c)))
        .collect();
    let mut receiver = start(reading, Box::new(chunks.into_iter()), Arc::default());
    let mut found = Vec::new();
    while let Some(piece) = receiver.recv().await {
        found.push(piece);
    }
    found
}

/// `lines of requests | lines rejected | lines, decoded bytes`
fn outline(content: &[u8], pieces: &[Piece]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Request(request) => {
                for input in &request.inputs {
                    let place = &input.place.bytes;
                    let at =
                        usize::try_from(place.start).unwrap()..usize::try_from(place.end).unwrap();
                    assert_eq!(input.json, &content[at], "the place is where the bytes are");
                    write!(out, "{} ", input.place.line).unwrap();
                }
                out.push_str("; ");
            }
            Piece::Rejected(bad) => bad
                .iter()
                .for_each(|b| write!(out, "!{} ", b.place.line).unwrap()),
            Piece::End {
                lines,
                decoded_bytes,
            } => write!(out, "end {lines} {decoded_bytes}").unwrap(),
            Piece::Document(document) => write!(out, "[{}] ", document.place.line).unwrap(),
            Piece::Broken(e) => write!(out, "broken {e}").unwrap(),
        }
    }
    out
}

#[tokio::test]
async fn ndjson_is_grouped_and_bad_lines_are_set_aside() {
    let content = "\u{feff}{\"resourceType\":\"Patient\",\"id\":\"1\"}\r\n\r\n  \n\
        {\"resourceType\":\"Patient\",\"id\":\"患\"}\n\
        no json\n\
        {\"resourceType\":\"Patient\",\"id\":\"2\",\"name\":\"ひと\"}\n\
        {\"resourceType\":\"Patient\",\"id\":\"3\"}\n\
        {\"resourceType\":\"Patient\",\"id\":\"4\"}";
    let found = pieces(reading(FileType::Ndjson), content.as_bytes()).await;
    let expected = format!("!3 !4 0 5 6 ; 7 ; end 8 {}", content.len());
    assert_eq!(outline(content.as_bytes(), &found), expected);
}

#[tokio::test]
async fn everything_before_the_end_is_covered_without_gaps() {
    let content = b"{\"resourceType\":\"Basic\"}\n\n\n{\"resourceType\":\"Basic\"}\nx\n";
    let mut covered = RangeSet::new();
    for piece in pieces(reading(FileType::Ndjson), content).await {
        match piece {
            Piece::Request(r) => r
                .inputs
                .into_iter()
                .for_each(|i| covered.insert(i.place.covers)),
            Piece::Rejected(bad) => bad.into_iter().for_each(|b| covered.insert(b.place.covers)),
            _ => {}
        }
    }
    assert_eq!(covered.to_string(), format!("0-{}", content.len()));
}

#[tokio::test]
async fn the_same_id_twice_is_never_in_one_batch() {
    let line = |id: &str| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}\n");
    let content = [line("a"), line("b"), line("a")].concat();
    let found = pieces(reading(FileType::Ndjson), content.as_bytes()).await;
    assert!(outline(content.as_bytes(), &found).starts_with("0 1 ; 2 ; end"));
    let Piece::Request(second) = &found[1] else {
        panic!("{found:?}")
    };
    let Piece::Request(first) = &found[0] else {
        panic!("{found:?}")
    };
    assert!(
        first.keys.contains(&second.keys[0]),
        "the requests know of their common id"
    );
}

#[tokio::test]
async fn what_is_done_is_not_read_again() {
    let line = "{\"resourceType\":\"Basic\"}\n";
    let content = line.repeat(4);
    let mut reading = reading(FileType::Ndjson);
    let length = line.len() as u64;
    reading.done.insert(0..length);
    reading.done.insert(2 * length..3 * length);
    let found = pieces(reading, content.as_bytes()).await;
    let expected = format!("1 3 ; end 4 {}", content.len());
    assert_eq!(outline(content.as_bytes(), &found), expected);
}

#[tokio::test]
async fn a_half_done_collection_sends_the_other_half() {
    let content = r#"{"resourceType":"Bundle","type":"collection","entry":[
        {"resource":{"resourceType":"Basic","id":"a"}},{"resource":{"resourceType":"Basic","id":"b"}}]}"#;
    let all = pieces(reading(FileType::Json), content.as_bytes()).await;
    let Piece::Request(request) = &all[0] else {
        panic!("{all:?}")
    };
    assert_eq!(request.inputs.len(), 2);
    let mut rest = reading(FileType::Json);
    rest.done.insert(request.inputs[0].place.covers.clone());
    let found = pieces(rest, content.as_bytes()).await;
    let Piece::Request(request) = &found[0] else {
        panic!("{found:?}")
    };
    assert_eq!(request.inputs.len(), 1);
    assert_eq!(request.inputs[0].place.entry, Some(1));
}

#[tokio::test]
async fn too_long_texts_are_rejected_by_name() {
    let long = format!(
        "{{\"resourceType\":\"Basic\",\"x\":\"{}\"}}",
        "y".repeat(1000)
    );
    for (file_type, content) in [
        (FileType::Json, long.clone()),
        (
            FileType::Ndjson,
            format!("{long}\n{{\"resourceType\":\"Basic\"}}\n"),
        ),
    ] {
        let found = pieces(reading(file_type), content.as_bytes()).await;
        let Piece::Rejected(bad) = &found[0] else {
            panic!("{found:?}")
        };
        assert!(bad[0].why.to_string().contains("max_document_bytes"));
        assert!(matches!(found.last(), Some(Piece::End { .. })));
    }
}

#[tokio::test]
async fn damage_is_told_after_what_was_whole() {
    let content = "{\"resourceType\":\"Basic\"}\n".repeat(2000);
    let stored = zstd::encode_all(content.as_bytes(), 1).unwrap();
    let mut reading = reading(FileType::Ndjson);
    reading.compression = Compression::Zstd;
    let found = pieces(reading, &stored[..stored.len() - 3]).await;
    assert!(
        matches!(found.last(), Some(Piece::Broken(DecodeError::Damaged(_)))),
        "{found:?}"
    );
}

/// The lines that a unit of the range `start..end` sends, and what it says at its end.
async fn lines_of_range(content: &[u8], start: usize, end: usize) -> (Vec<u64>, Vec<u64>) {
    let mut reading = reading(FileType::Ndjson);
    let length = if end < content.len() {
        (end - start) as u64
    } else {
        u64::MAX
    };
    reading.share = Share {
        from: start as u64,
        begins_inside: start > 0,
        end: ShareEnd::Decoded(length),
    };
    let (mut starts, mut ended) = (Vec::new(), Vec::new());
    for piece in pieces(reading, &content[start..]).await {
        match piece {
            Piece::Request(request) => starts.extend(
                request
                    .inputs
                    .iter()
                    .map(|input| start as u64 + input.place.bytes.start),
            ),
            Piece::End { lines, .. } => ended.push(lines),
            other => panic!("{other:?}"),
        }
    }
    starts.sort_unstable();
    (starts, ended)
}

#[tokio::test]
async fn ranges_that_cut_an_object_hold_each_line_once() {
    let line = |n: usize| {
        let id = "x".repeat(n % 7 + 1);
        format!("{{\"resourceType\":\"Basic\",\"id\":\"{id}-{n}\"}}\n")
    };
    let content: String = (0..9).map(line).collect();
    let content = content.trim_end().as_bytes();
    let (all, _) = lines_of_range(content, 0, content.len()).await;
    assert_eq!(all.len(), 9);
    for first in 1..content.len() {
        for second in [first + 1, first + 40, first + 97] {
            let second = second.min(content.len());
            let mut found = Vec::new();
            let mut lines = 0;
            for range in [0, first, second, content.len()].windows(2) {
                let (starts, ended) = lines_of_range(content, range[0], range[1]).await;
                lines += ended.iter().sum::<u64>();
                found.extend(starts);
            }
            assert_eq!((&found, lines), (&all, 9), "cut at {first} and {second}");
        }
    }
}

#[tokio::test]
async fn long_texts_are_read_one_after_the_other_where_there_is_no_room_for_two() {
    let long = |id: &str| {
        let text = "y".repeat(2 << 20);
        format!("{{\"resourceType\":\"Basic\",\"id\":\"{id}\",\"x\":\"{text}\"}}")
    };
    let memory = crate::memory::Memory::new(6 << 20);
    let start = |content: String| {
        let mut reading = reading(FileType::Ndjson);
        reading.memory = Some(memory.clone());
        reading.max_document_bytes = 3 << 20;
        let chunks: Vec<_> = content
            .as_bytes()
            .chunks(256 << 10)
            .map(|c| Ok(Bytes::copy_from_slice(c)))
            .collect();
        start(reading, Box::new(chunks.into_iter()), Arc::default())
    };
    let lines = [long("a"), long("b")].join("\n");
    let mut readers = [start(lines), start(long("c"))];
    let [one, other] = &mut readers;
    let (piece, waits) = tokio::select! {
        piece = one.recv() => (piece, 1),
        piece = other.recv() => (piece, 0),
    };
    let wait = std::time::Duration::from_millis(100);
    let second = tokio::time::timeout(wait, readers[waits].recv()).await;
    assert!(second.is_err(), "there is no room: {second:?}");
    drop(piece);
    let second = readers[waits].recv().await;
    assert!(matches!(second, Some(Piece::Request(_))));
    // Who waits for memory ends when nobody takes what it reads.
    drop((second, readers));
    let all = memory.take_to_read(usize::MAX);
    let all = tokio::time::timeout(20 * wait, all).await;
    assert!(all.is_ok(), "memory is held that nobody needs");
}
