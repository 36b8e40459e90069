//! Dead letters, a line each.

use chrono::SecondsFormat;
use remote_indexer::Config;
use remote_indexer::dead_letters::{Letter, Letters};
use serde_json::{Value, json};

use crate::output::Output;

/// Writes letters as they are read, so that a million of them need no memory for it.
pub(super) fn list(config: &Config, reason: Option<&str>, output: &Output) -> anyhow::Result<()> {
    let mut found = 0_u64;
    let letters = Letters::open(config)?;
    for letter in letters.into_iter().flatten() {
        let letter = letter?;
        if reason.is_some_and(|reason| reason != letter.reason) {
            continue;
        }
        let line = if output.is_json() {
            to_json(&letter).to_string()
        } else {
            text(&letter)
        };
        if !Output::line(&line)? {
            return Ok(());
        }
        found += 1;
    }
    if found == 0 {
        output.say("no dead letters");
    }
    Ok(())
}

fn text(letter: &Letter) -> String {
    let origin = &letter.origin;
    let place = format!("{}/{}", origin.partition, origin.offset);
    let replayed = if letter.is_replayed {
        " (sent again)"
    } else {
        ""
    };
    format!(
        "{place:<12}  {}  {:<22}  {}  {}{replayed}",
        time(letter).unwrap_or_else(|| "no time".to_owned()),
        letter.reason,
        key(letter).unwrap_or_else(|| "no key".to_owned()),
        letter.detail,
    )
}

fn to_json(letter: &Letter) -> Value {
    json!({
        "topic": letter.origin.topic, "partition": letter.origin.partition, "offset": letter.origin.offset,
        "time": time(letter), "key": key(letter), "reason": letter.reason, "detail": letter.detail,
        "replayed": letter.is_replayed,
        "letter": {"partition": letter.partition, "offset": letter.offset},
    })
}

fn time(letter: &Letter) -> Option<String> {
    let time = letter.origin.time?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn key(letter: &Letter) -> Option<String> {
    let key = letter.key.as_deref()?;
    Some(String::from_utf8_lossy(key).into_owned())
}
