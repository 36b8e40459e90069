//! Objects cut into the ranges that workers share.

use std::ops::Range;

use stoker_proto::common::v1::{Compression, FileType};

/// Most ranges of one object: of a larger one they are larger.
const MOST_RANGES: u64 = 10_000;

/// Whether an object may be read from its middle: lines can be found from anywhere, and frames of
/// zstd. Who does not know whether there are several takes it for one.
pub(super) fn can_be_cut(file_type: FileType, compression: Compression, frames: bool) -> bool {
    file_type == FileType::Ndjson
        && match compression {
            Compression::None => true,
            Compression::Zstd => frames,
            _ => false,
        }
}

/// Ranges of stored bytes, none larger than `at_most` unless there would be too many.
pub(super) fn cut(size: u64, at_most: u64) -> impl Iterator<Item = Range<u64>> {
    let count = size.div_ceil(at_most.max(1)).clamp(1, MOST_RANGES);
    let length = size.div_ceil(count).max(1);
    (0..size.div_ceil(length)).map(move |n| {
        let start = n * length;
        start..size.min(start + length)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_make_up_the_object(size in 1_u64..1 << 45, at_most in 0_u64..1 << 30) {
            let mut end = 0;
            let mut count = 0;
            for range in cut(size, at_most) {
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end > range.start);
                end = range.end;
                count += 1;
            }
            prop_assert_eq!(end, size);
            prop_assert!(count <= MOST_RANGES);
            prop_assert!(count <= size.div_ceil(at_most.max(1)));
        }
    }

    #[test]
    fn ranges_are_about_as_long_as_each_other() {
        let lengths =
            |size, at_most| -> Vec<u64> { cut(size, at_most).map(|r| r.end - r.start).collect() };
        assert_eq!(lengths(64, 64), [64]);
        assert_eq!(lengths(65, 64), [33, 32]);
        assert_eq!(lengths(130, 64), [44, 44, 42]);
        assert_eq!(lengths(5, 1), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn only_lines_and_frames_can_be_found_from_the_middle() {
        let may = can_be_cut;
        assert!(may(FileType::Ndjson, Compression::None, false));
        assert!(may(FileType::Ndjson, Compression::Zstd, true));
        assert!(!may(FileType::Ndjson, Compression::Zstd, false));
        assert!(!may(FileType::Ndjson, Compression::Gzip, true));
        assert!(!may(FileType::Json, Compression::None, false));
        assert!(!may(FileType::Json, Compression::Zstd, true));
    }
}
