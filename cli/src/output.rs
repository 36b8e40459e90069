//! Where results and errors go.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::Global;

/// Results to standard output, errors to standard error; as JSON when asked.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
}

impl Output {
    /// As the flags say.
    pub fn new(global: &Global) -> Self {
        Self { json: global.json }
    }

    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a result: as JSON, or as the text for a person.
    pub fn result(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            Self::line(&serde_json::to_string_pretty(value)?)?;
        } else {
            Self::line(text().trim_end_matches('\n'))?;
        }
        Ok(())
    }

    /// Writes a line to standard output; false when nobody reads it any more.
    pub fn line(text: &str) -> std::io::Result<bool> {
        match writeln!(std::io::stdout(), "{text}") {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true),
        }
    }

    /// Writes a sentence for a person, nothing for machines.
    #[expect(clippy::print_stderr, reason = "a word to the person at the terminal")]
    pub fn say(&self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    /// Writes why a command could not run; exit code 1.
    #[expect(clippy::print_stderr, reason = "the command's error")]
    pub fn failure(&self, error: &anyhow::Error) -> ExitCode {
        let message = one_sentence(error);
        if self.json {
            eprintln!("{}", serde_json::json!({ "error": message }));
        } else {
            eprintln!("error: {message}");
        }
        ExitCode::FAILURE
    }
}

/// The error and its causes, each once.
pub fn one_sentence(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
    }
    text
}
