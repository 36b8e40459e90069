//! The parsers, on what may be anything.

use backup_agent::compress::Decoder;
use backup_agent::postgres::BackupManifest;
use backup_agent::tar::{self, Event, Header, Kind, Reader, TarError};
use proptest::prelude::*;

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, content) in files {
        let header = Header::file(path, content.len() as u64, 0o600, 1_700_000_000);
        bytes.extend(header.to_block().unwrap());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(tar::BLOCK), 0);
    }
    bytes.extend(tar::END);
    bytes
}

fn read(bytes: &[u8], pieces: usize) -> Result<Vec<(String, Vec<u8>)>, TarError> {
    let (mut reader, mut files) = (Reader::new(), Vec::new());
    for piece in bytes.chunks(pieces) {
        reader.push::<TarError>(piece, &mut |event| {
            match event {
                Event::Begin(header) => {
                    assert_eq!(header.kind, Kind::File);
                    let path = String::from_utf8(header.path.clone()).unwrap();
                    files.push((path, Vec::new()));
                }
                Event::Data(data) => files.last_mut().unwrap().1.extend_from_slice(data),
                Event::End => {}
            }
            Ok(())
        })?;
    }
    reader.finish()?;
    Ok(files)
}

fn files() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let content = prop::collection::vec(any::<u8>(), 0..1500);
    prop::collection::vec(("[a-z0-9/_.]{1,100}", content), 0..6)
}

proptest! {
    #[test]
    fn an_archive_is_read_as_written_in_pieces_of_any_size(files in files(), pieces in 1_usize..2000) {
        prop_assert_eq!(read(&archive(&files), pieces).unwrap(), files);
    }

    #[test]
    fn a_cut_archive_is_never_whole(files in files(), cut in any::<prop::sample::Index>()) {
        let bytes = archive(&files);
        let cut = cut.index(bytes.len());
        prop_assert!(read(&bytes[..cut], 512).is_err());
    }

    #[test]
    fn no_bytes_make_the_tar_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), pieces in 1_usize..700) {
        let mut reader = Reader::new();
        for piece in bytes.chunks(pieces) {
            if reader.push::<TarError>(piece, &mut |_| Ok(())).is_err() {
                break;
            }
        }
    }

    #[test]
    fn no_header_with_a_right_checksum_makes_it_panic(mut block in prop::collection::vec(any::<u8>(), 512)) {
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        for flag in *b"025x" {
            block[156] = flag;
            let _ = Reader::new().push::<TarError>(&block, &mut |_| Ok(()));
        }
    }

    #[test]
    fn no_bytes_make_the_manifest_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..500), text in ".{0,300}") {
        prop_assert!(BackupManifest::parse(&bytes).is_err());
        prop_assert!(BackupManifest::parse(text.as_bytes()).is_err());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        for compression in ["none", "gzip", "zstd"] {
            let mut decoder = Decoder::new(compression, Vec::new()).unwrap();
            if decoder.push(&bytes).is_ok() {
                let _ = decoder.finish();
            }
        }
    }
}
