//! How pgBackRest is run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::pgbackrest::Program;
use crate::server::{ServerError, User};

/// How pgBackRest is run, on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PgbackrestSettings {
    /// Its path, or a name to be found in `PATH`.
    pub program: PathBuf,
    /// Its configuration; where it looks for it by itself unless given.
    pub config: Option<PathBuf>,
    /// Who runs it: a name or numbers (`1001:1001`); unless given whom Stoker runs as, and `postgres` for root.
    pub user: Option<String>,
}

impl PgbackrestSettings {
    /// How it is run where it writes into its repository.
    pub fn writing(&self) -> Result<Program, ServerError> {
        let user = self.user.as_deref().map(User::parse).transpose()?;
        Ok(Program {
            user: User::for_server(user)?,
            ..self.reading()
        })
    }

    /// How it is run where it reads there: by whom Stoker runs as, whose the files of a restore are at first.
    pub fn reading(&self) -> Program {
        Program {
            path: self.program.clone(),
            config: self.config.clone(),
            user: None,
        }
    }
}

impl Default for PgbackrestSettings {
    fn default() -> Self {
        Self {
            program: Program::default().path,
            config: None,
            user: None,
        }
    }
}
