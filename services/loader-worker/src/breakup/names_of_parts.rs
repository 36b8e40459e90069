//! How what an object is broken up into is named.

use stoker_proto::common::v1::{Compression, FileType};
use stoker_proto::ledger::v1::Unit;

/// Names of what one unit writes; the same unit gives the same names, no two units of a source the same.
#[derive(Debug, Clone)]
pub(crate) struct PartNames {
    bucket: String,
    /// The object's name in its source, as it is and without its last suffixes.
    name: String,
    stem: String,
    compressed: bool,
    /// First stored byte of the unit, when the object is read by several.
    from: u64,
}

impl PartNames {
    /// For the objects of a bucket the whole key, for files the path below the source's folder.
    pub(crate) fn of(unit: &Unit) -> Self {
        let object = unit.object.clone().unwrap_or_default();
        let uri = unit.source.as_ref().map_or("", |source| &source.uri);
        let name = match uri.strip_prefix("file://") {
            None => object.key.as_str(),
            Some(root) => below(root, &object.key),
        };
        let (bare, packing) = match object.compression() {
            Compression::Gzip => parted(name, &[".gz"]),
            Compression::Zstd => parted(name, &[".zst"]),
            Compression::None | Compression::Unspecified => (name, ""),
        };
        let (stem, _) = match object.file_type() {
            FileType::Ndjson => parted(bare, &[".ndjson"]),
            FileType::Json | FileType::Unspecified => parted(bare, &[".json"]),
        };
        Self {
            name: name.to_owned(),
            bucket: object.bucket_name.clone(),
            // x.json and x.json.gz in one place must not become one.
            stem: format!("{stem}{packing}"),
            compressed: !packing.is_empty(),
            from: unit.range.unwrap_or_default().start,
        }
    }

    /// Of a JSON object that needs no breaking up.
    pub(super) fn unbroken(&self) -> String {
        if self.compressed {
            format!("{}.json", self.stem)
        } else {
            self.name.clone()
        }
    }

    /// Of one of `parts` of a Bundle: of a whole object, or of a line.
    pub(super) fn part(&self, line: Option<u64>, part: usize, parts: usize) -> String {
        let line = line.map_or_else(String::new, |line| self.line(line));
        let digits = digits(parts);
        format!("{}{line}_SUB{part:0digits$}.json", self.stem)
    }

    /// Of one part of the object's Bundle, by a number of so many digits.
    pub(super) fn numbered(&self, part: usize, digits: usize) -> String {
        format!("{}_SUB{part:0digits$}.json", self.stem)
    }

    /// What comes before names in the keys of the source; `key` is the object's.
    pub(super) fn before<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_suffix(&self.name)
    }

    /// Whether a name is that of the object itself, in its source too.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.name == name
    }

    /// Stands for a Bundle, that of the object or of a line: new ids are made of it.
    pub(crate) fn seed(&self, line: Option<u64>) -> String {
        format!("{}/{}", self.bucket, self.part(line, 0, 1))
    }

    /// Of lines that need no breaking up, by the first of them.
    pub(super) fn lines(&self, first: u64) -> String {
        format!("{}{}.ndjson", self.stem, self.line(first))
    }

    /// Lines are counted from the start of the unit.
    fn line(&self, line: u64) -> String {
        match self.from {
            0 => format!("_L{line}"),
            from => format!("_B{from}_L{line}"),
        }
    }
}

/// Of the numbers of so many parts.
pub(super) fn digits(parts: usize) -> usize {
    parts.saturating_sub(1).to_string().len().max(3)
}

/// The path of a file below its source; its name, when it is the source itself.
fn below<'k>(root: &str, key: &'k str) -> &'k str {
    let root = root.trim_end_matches('/');
    match key
        .strip_prefix(root)
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(path) if !path.is_empty() => path,
        _ => key.rsplit('/').next().unwrap_or(key),
    }
}

/// A name without its suffix, in whatever case, and the suffix.
fn parted<'n>(name: &'n str, suffixes: &[&str]) -> (&'n str, &'n str) {
    let ends = |suffix: &&&str| {
        let at = name.len().checked_sub(suffix.len());
        at.and_then(|at| name.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    let length = suffixes.iter().find(ends).map_or(0, |suffix| suffix.len());
    name.split_at(name.len() - length)
}

#[cfg(test)]
mod tests {
    use stoker_proto::common::v1::{ByteRange, Source};
    use stoker_proto::ledger::v1::ObjectVersion;

    use super::*;

    fn names(uri: &str, key: &str, file_type: FileType, compression: Compression) -> PartNames {
        PartNames::of(&Unit {
            source: Some(Source {
                uri: uri.to_owned(),
                reach: String::new(),
            }),
            object: Some(ObjectVersion {
                key: key.to_owned(),
                file_type: file_type.into(),
                compression: compression.into(),
                ..ObjectVersion::default()
            }),
            ..Unit::default()
        })
    }

    #[test]
    fn names_follow_keys_and_paths() {
        let (json, plain) = (FileType::Json, Compression::None);
        let bucket = names("s3://b/in/", "in/a/x.JSON", json, plain);
        assert_eq!(bucket.unbroken(), "in/a/x.JSON");
        assert_eq!(bucket.part(None, 7, 8), "in/a/x_SUB007.json");
        assert_eq!(bucket.part(None, 7, 1001), "in/a/x_SUB0007.json");
        let file = names("file:///data", "/data/a/x.json", json, plain);
        assert_eq!(file.unbroken(), "a/x.json");
        let alone = names("file:///data/x.json", "/data/x.json", json, plain);
        assert_eq!(alone.unbroken(), "x.json");
        let root = names("file:///", "/x.json", json, plain);
        assert_eq!(root.unbroken(), "x.json");
    }

    #[test]
    fn what_was_compressed_does_not_meet_what_was_not() {
        let packed = names("s3://b", "x.json.gz", FileType::Json, Compression::Gzip);
        assert_eq!(packed.unbroken(), "x.gz.json");
        assert_eq!(packed.part(None, 0, 2), "x.gz_SUB000.json");
    }

    #[test]
    fn lines_are_named_by_number_and_unit() {
        let mut lines = names(
            "s3://b",
            "x.ndjson.zst",
            FileType::Ndjson,
            Compression::Zstd,
        );
        assert_eq!(lines.part(Some(4), 0, 2), "x.zst_L4_SUB000.json");
        assert_eq!(lines.lines(0), "x.zst_L0.ndjson");
        lines.from = ByteRange {
            start: 99,
            end: 100,
        }
        .start;
        assert_eq!(lines.lines(3), "x.zst_B99_L3.ndjson");
    }
}
