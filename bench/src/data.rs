//! Large inputs made from the sample data.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bytes::Bytes;

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder for large files: below the one that `STOKER_TEST_DATA` names, else the system's.
pub fn folder() -> anyhow::Result<tempfile::TempDir> {
    let named = std::env::var_os("STOKER_TEST_DATA").map(PathBuf::from);
    let base = named.unwrap_or_else(std::env::temp_dir);
    Ok(tempfile::Builder::new()
        .prefix("stoker-bench-")
        .tempdir_in(base)?)
}

/// Fails when a folder's disk has less than `bytes` left.
pub fn ensure_room(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    let output = std::process::Command::new("df")
        .args(["--output=avail", "-B1"])
        .arg(folder)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let left: u64 = text
        .lines()
        .last()
        .context("df printed nothing")?
        .trim()
        .parse()?;
    if left < bytes {
        bail!(
            "{}: {} MB are needed, {} MB are left; name another folder with STOKER_TEST_DATA",
            folder.display(),
            bytes >> 20,
            left >> 20
        );
    }
    Ok(())
}

/// Every line of the sample, each cut in two where its id ends.
pub(crate) fn sample_lines() -> anyhow::Result<Vec<(String, String)>> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(repository().join("sample/ndjson"))? {
        let decoder = zstd::Decoder::new(File::open(entry?.path())?)?;
        for line in BufReader::new(decoder).lines() {
            let line = line?;
            let id = line
                .find("\"id\":\"")
                .context("a sample line without an id")?
                + 6;
            let end = id + line[id..].find('"').context("an id without an end")?;
            lines.push((line[..end].to_owned(), line[end..].to_owned() + "\n"));
        }
    }
    Ok(lines)
}

/// Writes an NDJSON file of about `bytes`, no id twice; answers the number of resources.
pub fn write_ndjson(file: &Path, bytes: u64) -> anyhow::Result<u64> {
    let sample = sample_lines()?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    let (mut written, mut resources) = (0, 0);
    for (round, (head, tail)) in
        (0..).flat_map(|round| sample.iter().map(move |line| (round, line)))
    {
        if written >= bytes {
            break;
        }
        let head = format!("{head}-{round}");
        out.write_all(head.as_bytes())?;
        out.write_all(tail.as_bytes())?;
        written += (head.len() + tail.len()) as u64;
        resources += 1;
    }
    out.flush()?;
    Ok(resources)
}

/// The first lines of a file, without their ends.
pub fn first_lines(file: &Path, count: usize) -> anyhow::Result<Vec<Bytes>> {
    let lines = BufReader::with_capacity(1 << 20, File::open(file)?).split(b'\n');
    let lines = lines.take(count).map(|line| line.map(Bytes::from));
    Ok(lines.collect::<Result<_, _>>()?)
}

/// A file as it is without its compression, which its name tells.
pub(crate) fn decoded(file: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    let stored = File::open(file)?;
    Ok(match file.extension().and_then(|name| name.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(stored)),
        Some("zst") => Box::new(zstd::Decoder::new(stored)?),
        _ => Box::new(stored),
    })
}

/// Compresses a file beside itself.
pub fn compress(file: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let beside = |extension: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(extension);
        PathBuf::from(name)
    };
    let (gz, zst) = (beside(".gz"), beside(".zst"));
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(&gz)?, flate2::Compression::default());
    std::io::copy(&mut File::open(file)?, &mut encoder)?;
    encoder.finish()?;
    zstd::stream::copy_encode(File::open(file)?, File::create(&zst)?, 3)?;
    Ok((gz, zst))
}
