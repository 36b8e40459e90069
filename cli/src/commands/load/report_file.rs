//! The file a report is written to: begun before the load, whole or not there after it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Serialize;
use stoker_proto::common::v1::Source;

/// A report that is not written yet. Dropped before it is, it leaves nothing behind.
#[derive(Debug)]
pub(in crate::commands) struct ReportFile {
    path: PathBuf,
    /// Written first, so that a reader never sees half a report.
    unfinished: PathBuf,
}

impl ReportFile {
    /// Fails when a report cannot be written at `path`: found out now, not after hours of loading.
    pub(in crate::commands) fn begin(path: &Path) -> anyhow::Result<Self> {
        if path.is_dir() {
            bail!("{}", cannot_write(path));
        }
        let file = Self {
            path: path.to_owned(),
            unfinished: path.with_extension("json.unfinished"),
        };
        fs::write(&file.unfinished, "").with_context(|| cannot_write(path))?;
        Ok(file)
    }

    /// Writes the report, in the place of an earlier one.
    pub(in crate::commands) fn write(self, report: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(report)?;
        fs::write(&self.unfinished, text).with_context(|| cannot_write(&self.path))?;
        fs::rename(&self.unfinished, &self.path).with_context(|| cannot_write(&self.path))
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        // Gone already when the report is written.
        let _ = fs::remove_file(&self.unfinished);
    }
}

fn cannot_write(report: &Path) -> String {
    format!(
        "{}: the report cannot be written; name another file",
        report.display()
    )
}

/// Fails when the report at `path` would take the place of an input or, at the next load, be one.
pub(super) fn ensure_no_input(path: &Path, sources: &[Source]) -> anyhow::Result<()> {
    let Some(real) = real(path) else {
        // The folder is not there: `begin` says so.
        return Ok(());
    };
    for source in sources {
        let root = Path::new(source.uri.trim_start_matches("file://"));
        let Ok(below) = real.strip_prefix(root) else {
            continue;
        };
        if below.as_os_str().is_empty() {
            bail!(
                "{}: the report would take the place of an input; name another file",
                path.display()
            );
        }
        let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
        if !below.iter().any(hidden) {
            bail!(
                "{}: the report would be loaded by the next run, since it lies in a source; name a file \
                 outside of {}, or one whose name begins with a dot",
                path.display(),
                root.display()
            );
        }
    }
    Ok(())
}

/// The path without links; the file itself need not be there.
fn real(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::sources;

    #[test]
    fn what_is_begun_and_not_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let file = ReportFile::begin(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for nowhere in [folder.path(), &folder.path().join("no/such/report.json")] {
            let error = ReportFile::begin(nowhere).unwrap_err();
            assert!(error.to_string().contains("name another file"), "{error}");
        }
    }

    #[test]
    fn a_report_is_no_input() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("sub/.hidden")).unwrap();
        fs::write(data.join("in.json"), "{}").unwrap();
        symlink(&data, folder.path().join("link")).unwrap();
        let of_folder = [sources::parse(data.to_str().unwrap(), None).unwrap()];
        let of_file = [sources::parse(data.join("in.json").to_str().unwrap(), None).unwrap()];
        for (name, sources, fits) in [
            ("report.json", &of_folder, true),
            ("data-2.json", &of_folder, true),
            ("data/report.json", &of_folder, false),
            ("data/sub/report.json", &of_folder, false),
            ("link/report.json", &of_folder, false),
            ("data/.report.json", &of_folder, true),
            ("data/sub/.hidden/report.json", &of_folder, true),
            ("data/in.json", &of_file, false),
            ("link/in.json", &of_file, false),
            ("data/report.json", &of_file, true),
        ] {
            let checked = ensure_no_input(&folder.path().join(name), sources);
            assert_eq!(checked.is_ok(), fits, "{name}: {checked:?}");
        }
    }
}
