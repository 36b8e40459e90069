//! `docs/seeds.md`, written from the indexes.

use std::fmt::Write as _;
use std::fs;

use stoker_tests::repository;

use super::STATUSES;
use super::documents::{capabilities, documents};

#[test]
fn the_table_of_the_documentation_is_what_the_index_says() {
    let written = table();
    let path = repository::root().join("docs/seeds.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &written).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == written,
        "docs/seeds.md is not what tests/seeds says; run `UPDATE=1 cargo test -p stoker-tests --test it seeds`"
    );
}

const INTRODUCTION: &str = "\
# What the seeds print

Stoker was asked for by five documents, the seeds. Everything in them that can be run or read by a program (commands, scripts, properties files,
queries, tables of options) lies as printed in `tests/seeds/`, and tests try it. This page is written from `tests/seeds/*/index.json`.

- **works**: as printed.
- **works-differently**: with the difference that the note names.
- **replaced**: Stoker names what takes its place.
- **waiting**: not yet; the note says for what.
";

fn table() -> String {
    let capabilities = capabilities();
    let documents = documents();
    let mut page = INTRODUCTION.to_owned();
    let pieces = || documents.iter().flat_map(|document| &document.pieces);
    let count = |status| {
        pieces()
            .filter(|piece| piece.get("status") == status)
            .count()
    };
    let counts = STATUSES
        .map(|status| format!("{} {status}", count(status)))
        .join(", ");
    writeln!(page, "\n{} pieces: {counts}.", pieces().count()).unwrap();
    for document in &documents {
        let title = document.index["title"].as_str().unwrap();
        let source = document.index["document"].as_str().unwrap();
        writeln!(page, "\n## {title}\n\n`{source}`\n").unwrap();
        writeln!(page, "| piece | status | note |\n|---|---|---|").unwrap();
        for piece in &document.pieces {
            let waits = capabilities.get(piece.get("for"));
            let waits = waits.and_then(|waits| waits["text"].as_str());
            let waits = waits.map(|text| format!("Waits for {text}."));
            let note = Some(piece.get("note").to_owned()).filter(|note| !note.is_empty());
            let notes: Vec<_> = waits.into_iter().chain(note).collect();
            let (file, name, line) = (piece.get("file"), &piece.name, piece.line());
            let cells = format!(
                "[{file}](../tests/seeds/{name}), line {line} | {}",
                piece.get("status")
            );
            writeln!(page, "| {cells} | {} |", notes.join(" ")).unwrap();
        }
    }
    page
}
