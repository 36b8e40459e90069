//! What a retry has got through, written down beside the quarantine until that is written anew.
//!
//! Died before a record is durable: its input is sent again. Died after, and before the quarantine is written
//! anew: the next retry goes on behind it. Died after that: the records are about lines that are gone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::quarantine::{Case, Line};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    /// Of a retry that was interrupted: what is left of each line of which something was taken.
    before: HashMap<String, Vec<Line>>,
}

#[derive(Deserialize)]
struct Record {
    keys: Vec<String>,
    left: Vec<Map<String, Value>>,
}

impl Journal {
    /// The journal beside a quarantine.
    pub(super) fn open(quarantine: &Path) -> anyhow::Result<Self> {
        let path = beside(quarantine, ".retrying");
        let cannot = || {
            format!(
                "{}: cannot be written; a retry keeps account there, give a quarantine in a folder of yours",
                path.display()
            )
        };
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(cannot)?;
        let text = fs::read_to_string(&path).with_context(cannot)?;
        let mut before = HashMap::new();
        let mut whole = 0;
        for line in text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            whole += line.len() as u64;
            // A record that was cut short by a crash is none.
            let Ok(record) = serde_json::from_str::<Record>(line) else {
                continue;
            };
            let mut left: Vec<Line> = record.left.into_iter().map(Line).collect();
            for key in record.keys {
                before.insert(key, std::mem::take(&mut left));
            }
        }
        file.set_len(whole).with_context(cannot)?;
        Ok(Self {
            path,
            file: Mutex::new(file),
            before,
        })
    }

    /// What is left of a line, when something of it was taken.
    pub(super) fn left_of(&self, line: &Line) -> Option<&[Line]> {
        self.before.get(&line.key()).map(Vec::as_slice)
    }

    /// Makes durable that some of a case was taken, and what is left of it.
    pub(super) fn taken(&self, case: &Case, left: &[Line]) -> io::Result<()> {
        let keys: Vec<String> = case.lines.iter().map(Line::key).collect();
        let left: Vec<_> = left.iter().map(|line| &line.0).collect();
        let record = json!({"keys": keys, "left": left}).to_string() + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(record.as_bytes())?;
        file.sync_data()
    }

    /// The quarantine is written anew, or nothing was taken.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

/// A quarantine written anew; it takes the place of the old one when it is whole.
pub(super) struct Rewritten {
    path: PathBuf,
    beside: PathBuf,
    file: BufWriter<File>,
}

impl Rewritten {
    pub(super) fn begin(quarantine: &Path) -> io::Result<Self> {
        let beside = beside(quarantine, ".left");
        Ok(Self {
            path: quarantine.to_owned(),
            file: BufWriter::new(File::create(&beside)?),
            beside,
        })
    }

    pub(super) fn line(&mut self, line: &Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, &line.0)?;
        self.file.write_all(b"\n")
    }

    pub(super) fn give_up(self) -> io::Result<()> {
        fs::remove_file(self.beside)
    }

    pub(super) fn end(self) -> io::Result<()> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&self.beside, &self.path)?;
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn beside(quarantine: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(quarantine);
    name.push(ending);
    name.into()
}
