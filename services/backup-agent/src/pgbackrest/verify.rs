//! Whether a set is as it was written, as pgBackRest finds by reading it.

use super::{PgbackrestError, Program, info, run};
use crate::manifest::Elsewhere;

/// Has all of a stanza read: pgBackRest reads no single set. Fails with [`PgbackrestError::Invalid`] where something of
/// this one is not as it was written.
pub async fn verify(program: &Program, set: &Elsewhere) -> Result<(), PgbackrestError> {
    info::of_stanza(program, &set.stanza)
        .await?
        .set(&set.label)?;
    let mut command = program.command(program.user, &set.stanza, "verify");
    command
        .args(["--output=text", "--verbose"])
        .args(["--log-level-console=off", "--log-level-file=off"]);
    let said = run::to_the_end(program, command, |_| ()).await?;
    judge(&said, &set.label)
}

/// By lines as `  backup: 20261129-040906F, status: valid, total files checked: 966, …` and those below, which say what
/// is wrong.
fn judge(said: &str, label: &str) -> Result<(), PgbackrestError> {
    let begin = format!("backup: {label}, status: ");
    let mut lines = said.lines().map(str::trim);
    let found = lines.find_map(|line| line.strip_prefix(&begin));
    let Some(found) = found else {
        return Err(PgbackrestError::Odd {
            command: "verify",
            what: format!("nothing of set {label}"),
        });
    };
    if found == "valid" || found.starts_with("valid,") {
        return Ok(());
    }
    let more = lines.next().filter(|line| !line.starts_with("backup: "));
    let more = more.map_or_else(String::new, |line| format!("; {line}"));
    Err(PgbackrestError::Invalid {
        label: label.to_owned(),
        said: format!("{found}{more}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 2.45 said it.
    const SAID: &str = "stanza: main
status: error
  archiveId: 15-1, total WAL checked: 7, total valid WAL: 7
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261129-040928F, status: valid, total files checked: 966, total valid files: 966
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261129-041132F, status: invalid, total files checked: 970, total valid files: 969
    missing: 0, checksum invalid: 0, size invalid: 0, other: 1
";

    #[test]
    fn a_set_is_told_from_the_others() {
        judge(SAID, "20261129-040928F").unwrap();
        let bad = judge(SAID, "20261129-041132F").unwrap_err();
        assert!(bad.is_of_backup());
        assert_eq!(
            bad.to_string(),
            "pgBackRest's set 20261129-041132F is invalid, total files checked: 970, total valid files: 969; missing: 0, \
             checksum invalid: 0, size invalid: 0, other: 1"
        );
        for unknown in ["20261129", "20261129-041133F", ""] {
            assert!(!judge(SAID, unknown).unwrap_err().is_of_backup());
        }
    }
}
