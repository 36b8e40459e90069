//! A large file, written past the page cache where its file system lets that be: the cache is left to the database, and
//! next to nothing is left to sync at the end.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::files;
use crate::repository::RepositoryError;

/// What `O_DIRECT` wants addresses and sizes to be multiples of, at most: open(2).
const ALIGNED: usize = 4096;

/// Bytes written at once: many, as each write waits for the disk.
const BLOCK: usize = 4 << 20;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    /// The same file past the cache; none where that is refused.
    direct: Option<File>,
    /// The block that is gathered begins in it where addresses are aligned.
    room: Vec<u8>,
    begin: usize,
    gathered: usize,
    /// Where in the file the block goes.
    at: u64,
}

impl DirectFile {
    /// Makes a file that is not there yet.
    pub(super) fn create(path: &Path) -> Result<Self, RepositoryError> {
        let file = files::create(path)?;
        let mut options = OpenOptions::new();
        let direct = options.write(true).custom_flags(libc::O_DIRECT).open(path);
        let room = vec![0; BLOCK + ALIGNED];
        Ok(Self {
            file,
            direct: direct.ok(),
            begin: room.as_ptr().align_offset(ALIGNED).min(ALIGNED),
            room,
            gathered: 0,
            at: 0,
        })
    }

    /// Takes more bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.gathered));
            let to = self.begin + self.gathered;
            self.room[to..to + now.len()].copy_from_slice(now);
            self.gathered += now.len();
            if self.gathered == BLOCK {
                self.put()?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Writes the rest; all of it is durable then.
    pub(super) fn finish(mut self) -> io::Result<()> {
        // Of any size, which past the cache it cannot have.
        self.direct = None;
        self.put()?;
        self.file.sync_all()
    }

    fn put(&mut self) -> io::Result<()> {
        let block = &self.room[self.begin..self.begin + self.gathered];
        let past = self.direct.as_ref().map(|f| f.write_all_at(block, self.at));
        match past {
            Some(Ok(())) => {}
            Some(Err(e)) if e.kind() != ErrorKind::InvalidInput => return Err(e),
            // A file system may let a file be opened so and not be written.
            Some(Err(_)) | None => {
                self.direct = None;
                self.file.write_all_at(block, self.at)?;
            }
        }
        self.at += self.gathered as u64;
        self.gathered = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_as_written_whether_past_the_cache_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (0..=250).cycle().take(2 * BLOCK + 4097).collect();
        for (name, bytes, piece, refuse) in [
            ("empty", 0, 1, false),
            ("small", 7, 3, false),
            ("a block", BLOCK, BLOCK, false),
            ("pieces", all.len(), 99_991, false),
            ("at once", all.len(), all.len(), false),
            ("refused", all.len(), 99_991, true),
        ] {
            let path = folder.path().join(name);
            let mut file = DirectFile::create(&path).unwrap();
            if refuse {
                // No address in it is aligned.
                file.begin = if file.begin == 1 { 2 } else { 1 };
            }
            for piece in all[..bytes].chunks(piece) {
                file.write(piece).unwrap();
            }
            file.finish().unwrap();
            assert!(std::fs::read(&path).unwrap() == all[..bytes], "{name}");
        }
    }
}
