//! What was found, and how it is shown.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

/// Each check may take so long.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Well.
    Ok,
    /// It works, and something about it is to be known.
    Warn,
    /// It cannot be used.
    Fail,
    /// Not looked at.
    Skip,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) state: State,
    /// The thing looked at.
    what: String,
    /// How it is.
    detail: String,
    /// What to do about it; empty where nothing is to be done.
    to_do: String,
}

impl Finding {
    fn new(state: State, what: &str, detail: impl Display, to_do: impl Into<String>) -> Self {
        Self {
            state,
            what: what.to_owned(),
            detail: detail.to_string(),
            to_do: to_do.into(),
        }
    }

    pub(super) fn ok(what: &str, detail: impl Display) -> Self {
        Self::new(State::Ok, what, detail, "")
    }

    pub(super) fn warn(what: &str, detail: impl Display, to_do: impl Into<String>) -> Self {
        Self::new(State::Warn, what, detail, to_do)
    }

    pub(super) fn fail(what: &str, detail: impl Display, to_do: impl Into<String>) -> Self {
        Self::new(State::Fail, what, detail, to_do)
    }

    pub(super) fn skip(what: &str, detail: impl Display, to_do: impl Into<String>) -> Self {
        Self::new(State::Skip, what, detail, to_do)
    }

    /// Nothing names such a thing. Where the configuration is faulty, that is not known.
    pub(super) fn none(what: &str, is_sound: bool, detail: &str, to_do: &str) -> Self {
        if is_sound {
            Self::skip(what, detail, to_do)
        } else {
            let detail = "a faulty configuration is not followed";
            Self::skip(what, detail, "correct the configuration")
        }
    }

    /// It did not answer.
    pub(super) fn late(what: &str) -> Self {
        let detail = format!("no answer within {}", humantime::format_duration(LIMIT));
        let to_do = "check the address, that it runs, and that nothing between blocks the way";
        Self::fail(what, detail, to_do)
    }

    /// Stoker's errors say what happened, and after the last semicolon what to do.
    pub(super) fn error(what: &str, error: impl Display) -> Self {
        let text = error.to_string();
        // What it is about stands at the front of the line already.
        let text = match text.strip_prefix(what).and_then(|t| t.split_once(": ")) {
            Some((_, rest)) => rest,
            None => &text,
        };
        match text.rsplit_once("; ") {
            Some((detail, to_do)) => Self::fail(what, detail, to_do),
            None => Self::fail(what, text, "correct what it says"),
        }
    }
}

/// The check's answer, or that none came in time.
pub(super) async fn in_time<T>(
    what: &str,
    check: impl Future<Output = T>,
) -> Result<T, Vec<Finding>> {
    let answer = timeout(LIMIT, check).await;
    answer.map_err(|_| vec![Finding::late(what)])
}

/// For a person, and for `grep`: a line each.
pub(super) fn table(findings: &[Finding]) -> String {
    let width = |f: &Finding| f.what.chars().count();
    let widest = findings.iter().map(width).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
            State::Skip => "skip",
        };
        let (what, detail) = (&finding.what, finding.detail.replace('\n', " "));
        let _ = write!(out, "{state:<6}{what:<widest$}  {detail}");
        if !finding.to_do.is_empty() {
            let _ = write!(out, "  -> {}", finding.to_do.replace('\n', " "));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_taken_apart() {
        let found = Finding::error("http://x", "http://x: away; or gone; start it");
        assert_eq!(
            found,
            Finding::fail("http://x", "away; or gone", "start it")
        );
        let below = Finding::error("http://x", "http://x/metadata: away; start it");
        assert_eq!(below, Finding::fail("http://x", "away", "start it"));
        assert_eq!(Finding::error("x", "y").to_do, "correct what it says");
    }

    #[test]
    fn lines_are_aligned() {
        let found = [
            Finding::ok("ledger", "well"),
            Finding::fail("a folder", "gone", "look"),
        ];
        let expected = "ok    ledger    well\nfail  a folder  gone  -> look\n";
        assert_eq!(table(&found), expected);
    }
}
