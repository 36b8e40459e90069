//! What is made of mounted files, and made anew when they change.
//!
//! Kubernetes puts new files behind a symbolic link while the service runs. Where they are used the files are read
//! again: what is in memory can never be older than they are. They are small, and lie in memory (tmpfs).

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

type Make<T> = dyn Fn() -> Result<T, Box<dyn Error + Send + Sync>> + Send + Sync;

/// Something made of the content of files.
pub struct Mounted<T> {
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    made: Mutex<Made<T>>,
}

struct Made<T> {
    value: T,
    /// What the files held when they were last tried; none for one that could not be read.
    seen: Vec<Option<Vec<u8>>>,
}

impl<T: Clone> Mounted<T> {
    /// Makes it. `make` reads the files, of which there may be none.
    pub fn new<E: Error + Send + Sync + 'static>(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let seen = read(&files);
        let value = make()?;
        Ok(Self {
            files,
            make: Box::new(move || Ok(make()?)),
            made: Mutex::new(Made { value, seen }),
        })
    }

    /// What the files make now. Where that is nothing, as with one that is half written, it is what they made before,
    /// and a warning says so once.
    pub fn get(&self) -> T {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before they are used: what changes in between is seen as a change the next time.
        let seen = read(&self.files);
        if seen != made.seen {
            made.seen = seen;
            match (self.make)() {
                Ok(value) => {
                    made.value = value;
                    tracing::info!(files = ?self.files, "changed files are in force");
                }
                Err(error) => tracing::warn!(
                    %error,
                    "changed files cannot be used, what they held before stays in force; correct them, no restart is needed"
                ),
            }
        }
        made.value.clone()
    }
}

impl<T> fmt::Debug for Mounted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mounted")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn read(files: &[PathBuf]) -> Vec<Option<Vec<u8>>> {
    files.iter().map(|file| std::fs::read(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn number_in(file: &Path) -> Mounted<u32> {
        let files = vec![file.to_owned()];
        let file = file.to_owned();
        let make = move || {
            let text = std::fs::read_to_string(&file)?;
            text.parse().map_err(io::Error::other)
        };
        Mounted::new(files, make).unwrap()
    }

    #[test]
    fn a_file_that_cannot_be_used_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n");
        std::fs::write(&file, "1").unwrap();
        let mounted = number_in(&file);
        for (content, expected) in [("2", 2), ("half", 2), ("", 2), ("3", 3), ("2", 2)] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(mounted.get(), expected, "{content:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(mounted.get(), 2);
        std::fs::write(&file, "4").unwrap();
        assert_eq!(mounted.get(), 4);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (folder, content) in [("one", "1"), ("two", "2")] {
            std::fs::create_dir(at(folder)).unwrap();
            std::fs::write(at(folder).join("n"), content).unwrap();
        }
        symlink("one", at("..data")).unwrap();
        symlink("..data/n", at("n")).unwrap();
        let mounted = number_in(&at("n"));
        assert_eq!(mounted.get(), 1);
        symlink("two", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        assert_eq!(mounted.get(), 2);
    }

    #[test]
    fn the_same_fault_is_tried_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n");
        std::fs::write(&file, "good").unwrap();
        let tries = std::sync::Arc::new(Mutex::new(0));
        let counted = std::sync::Arc::clone(&tries);
        let read = file.clone();
        let make = move || {
            *counted.lock().unwrap() += 1;
            match std::fs::read_to_string(&read)?.as_str() {
                "good" => Ok(()),
                other => Err(io::Error::other(other.to_owned())),
            }
        };
        let mounted = Mounted::new(vec![file.clone()], make).unwrap();
        std::fs::write(&file, "bad").unwrap();
        for _ in 0..3 {
            mounted.get();
        }
        assert_eq!(*tries.lock().unwrap(), 2);
    }
}
