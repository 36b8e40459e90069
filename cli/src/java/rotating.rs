//! A log in files of a size that take turns, as Java's FileHandler keeps it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// How the files are named, how large they become, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// With `%u` (a number that no other process uses), `%g` (0 is the newest file), `%h` (the user's
    /// home), `%t` (the folder for temporary files), `%%`.
    pub(crate) pattern: String,
    /// Bytes after which the next file begins; 0 for never.
    pub(crate) limit: u64,
    /// Files kept, the newest included.
    pub(crate) count: usize,
    /// Goes on with the newest file of an earlier run.
    pub(crate) append: bool,
}

/// Processes that can log under one pattern.
const MOST_PROCESSES: u32 = 100;

/// See the [module](self). Another process that logs under the same pattern has another `%u`.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    rotation: Rotation,
    unique: u32,
    file: File,
    written: u64,
    /// Locked for as long as the files are this process's.
    lock: File,
    lock_path: PathBuf,
}

impl RotatingFile {
    pub(crate) fn open(rotation: Rotation) -> anyhow::Result<Self> {
        let (unique, lock, lock_path) = rotation.take_unique()?;
        if !rotation.append {
            rotation.shift(unique);
        }
        let path = rotation.path(unique, 0);
        let file = open_log(&path).with_context(|| cannot_write(&path))?;
        let written = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self {
            rotation,
            unique,
            file,
            written,
            lock,
            lock_path,
        })
    }

    /// The file being written.
    pub(crate) fn path(&self) -> PathBuf {
        self.rotation.path(self.unique, 0)
    }

    fn next_file(&mut self) -> io::Result<()> {
        self.rotation.shift(self.unique);
        self.file = open_log(&self.path())?;
        self.written = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    /// Takes all of it, a line: none is cut in two by a change of files.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file.write_all(line)?;
        self.written += line.len() as u64;
        let limit = self.rotation.limit;
        if limit > 0 && self.written >= limit {
            self.next_file()?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for RotatingFile {
    fn drop(&mut self) {
        // Removed while it is still locked, so that no other process finds it free in between.
        let _ = fs::remove_file(&self.lock_path);
        let _ = self.lock.unlock();
    }
}

impl Rotation {
    /// The first number whose lock file no other process holds.
    fn take_unique(&self) -> anyhow::Result<(u32, File, PathBuf)> {
        for unique in 0..MOST_PROCESSES {
            let mut path = self.path(unique, 0).into_os_string();
            path.push(".lck");
            let path = PathBuf::from(path);
            let lock = open_log(&path).with_context(|| cannot_write(&path))?;
            if lock.try_lock().is_ok() {
                return Ok((unique, lock, path));
            }
        }
        bail!(
            "{}: {MOST_PROCESSES} processes log under this pattern already",
            self.pattern
        );
    }

    /// Each file becomes one older; the oldest goes. A file that cannot be moved is written over.
    fn shift(&self, unique: u32) {
        for generation in (1..self.count).rev() {
            let newer = self.path(unique, generation - 1);
            if newer.exists() {
                let _ = fs::rename(newer, self.path(unique, generation));
            }
        }
        let _ = fs::remove_file(self.path(unique, 0));
    }

    fn path(&self, unique: u32, generation: usize) -> PathBuf {
        let mut path = String::new();
        let (mut has_generation, mut has_unique) = (false, false);
        let mut chars = self.pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                path.push(c);
                continue;
            }
            match chars.next() {
                Some('u') => {
                    has_unique = true;
                    path.push_str(&unique.to_string());
                }
                Some('g') => {
                    has_generation = true;
                    path.push_str(&generation.to_string());
                }
                Some('h') => path.push_str(&folder("HOME", ".")),
                Some('t') => path.push_str(&folder("TMPDIR", "/tmp")),
                Some('%') => path.push('%'),
                other => path.extend(['%'].into_iter().chain(other)),
            }
        }
        if self.count > 1 && !has_generation {
            path.extend([".", &generation.to_string()]);
        }
        if unique > 0 && !has_unique {
            path.extend([".", &unique.to_string()]);
        }
        path.into()
    }
}

fn folder(variable: &str, otherwise: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| otherwise.to_owned())
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn cannot_write(path: &Path) -> String {
    format!(
        "{}: the log cannot be written; correct java.util.logging.FileHandler.pattern",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(folder: &Path, name: &str, limit: u64, count: usize) -> Rotation {
        Rotation {
            pattern: folder.join(name).display().to_string(),
            limit,
            count,
            append: false,
        }
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap_or_else(|_| "none".to_owned())
    }

    #[test]
    fn full_files_become_older_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RotatingFile::open(rotation(folder.path(), "l-%u-%g.log", 6, 3)).unwrap();
        for line in ["one\n", "two\n", "three!\n", "four\n"] {
            assert_eq!(log.write(line.as_bytes()).unwrap(), line.len());
        }
        let files = ["l-0-0.log", "l-0-1.log", "l-0-2.log", "l-0-3.log"];
        let found = files.map(|file| read(folder.path(), file));
        assert_eq!(found, ["four\n", "three!\n", "one\ntwo\n", "none"]);
        log.write_all(b"five\n").unwrap();
        assert_eq!(read(folder.path(), "l-0-2.log"), "three!\n");
        drop(log);
        assert_eq!(read(folder.path(), "l-0-0.log.lck"), "none");
    }

    #[test]
    fn a_new_run_begins_a_new_file_unless_it_is_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut rotation = rotation(folder.path(), "l%g", 0, 2);
        for text in ["a", "b"] {
            let mut log = RotatingFile::open(rotation.clone()).unwrap();
            log.write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(
            (read(folder.path(), "l0"), read(folder.path(), "l1")),
            ("b".into(), "a".into())
        );
        rotation.append = true;
        RotatingFile::open(rotation)
            .unwrap()
            .write_all(b"c")
            .unwrap();
        assert_eq!(read(folder.path(), "l0"), "bc");
    }

    #[test]
    fn each_process_has_files_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = rotation(folder.path(), "l.log", 0, 1);
        let first = RotatingFile::open(rotation.clone()).unwrap();
        let second = RotatingFile::open(rotation.clone()).unwrap();
        assert_eq!(first.path(), folder.path().join("l.log"));
        assert_eq!(second.path(), folder.path().join("l.log.1"));
        drop(first);
        let again = RotatingFile::open(rotation).unwrap();
        assert_eq!(again.path(), folder.path().join("l.log"));
    }

    #[test]
    fn patterns_are_javas() {
        let path = |pattern: &str, count| {
            let rotation = Rotation {
                pattern: pattern.to_owned(),
                limit: 0,
                count,
                append: false,
            };
            rotation.path(2, 7).display().to_string()
        };
        assert_eq!(path("a-%u-%g.log", 20), "a-2-7.log");
        assert_eq!(path("100%%%x.log", 1), "100%%x.log.2");
        assert_eq!(path("a.log", 20), "a.log.7.2");
        let home = std::env::var("HOME").unwrap();
        assert_eq!(path("%h/%u", 1), format!("{home}/2"));
    }

    #[test]
    fn a_log_in_no_folder_is_refused_by_name() {
        let rotation = rotation(Path::new("/no/such/folder"), "x.log", 0, 1);
        let error = RotatingFile::open(rotation).unwrap_err().to_string();
        assert!(
            error.starts_with("/no/such/folder/x.log.lck: the log cannot"),
            "{error}"
        );
    }
}
