//! Every command, file, query and table of options that the five seed documents print lies in
//! `tests/seeds/`, a folder for each document, and does what its `index.json` says of it.
//!
//! A piece `works` or `works-differently` (then it is run here, or by the module that `run_by` names), is `replaced` (then the message that
//! names the replacement is asked for here) or is `waiting` for one of `capabilities.json` (then it
//! must not work yet). `no_pieces` are lines that look like code and are none.
//! `UPDATE=1 cargo test -p stoker-tests --test it seeds` writes `docs/seeds.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use stoker_tests::repository;

use self::documents::{Piece, capabilities, documents, folder, list, names_in, words};

mod documents;
mod page;
mod refusing;
mod running;

const STATUSES: [&str; 4] = ["works", "works-differently", "replaced", "waiting"];

#[test]
fn each_piece_is_printed_where_the_index_says() {
    let mut wrong = String::new();
    for document in documents() {
        for piece in &document.pieces {
            if document.place_of(piece).is_none() {
                let source = &document.index["document"];
                writeln!(
                    wrong,
                    "{} is not what {source} prints at line {}",
                    piece.name,
                    piece.line()
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_file_is_in_the_index_and_the_other_way_round() {
    for document in documents() {
        let mut files = names_in(&folder().join(&document.folder));
        assert!(files.remove("index.json"));
        let indexed: Vec<_> = document
            .pieces
            .iter()
            .map(|p| p.get("file").to_owned())
            .collect();
        let set: BTreeSet<_> = indexed.iter().cloned().collect();
        assert_eq!(
            indexed.len(),
            set.len(),
            "{}: a file is there twice",
            document.folder
        );
        assert_eq!(
            files, set,
            "{}: files (left) and index (right)",
            document.folder
        );
    }
}

#[test]
fn no_line_of_code_is_left_out() {
    let mut wrong = String::new();
    for document in documents() {
        let places = document
            .pieces
            .iter()
            .filter_map(|piece| document.place_of(piece));
        let covered: BTreeSet<u64> = places.flatten().map(|row| row.line).collect();
        let bare = document
            .suspects()
            .into_iter()
            .filter(|row| !covered.contains(&row.line));
        let bare: BTreeMap<_, _> = bare.map(|row| (row.line, &row.text)).collect();
        let mut excused = BTreeSet::new();
        for exception in list(&document.index["no_pieces"]) {
            let [from, to] = ["from", "to"].map(|key| exception[key].as_u64().unwrap());
            let reason = exception["reason"].as_str().unwrap_or_default();
            if reason.is_empty() || bare.range(from..=to).next().is_none() {
                writeln!(wrong, "{}: no use: {exception}", document.folder).unwrap();
            }
            excused.extend(from..=to);
        }
        for (line, text) in bare.iter().filter(|(line, _)| !excused.contains(*line)) {
            writeln!(
                wrong,
                "{}: line {line} is in no piece: {text}",
                document.folder
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_the_index_says_of_each_piece_is_whole() {
    let capabilities = capabilities();
    let mut needed = BTreeSet::new();
    for piece in documents().iter().flat_map(|document| &document.pieces) {
        let name = &piece.name;
        assert!(!piece.get("kind").is_empty(), "{name}: no kind");
        let status = piece.get("status");
        assert!(STATUSES.contains(&status), "{name}: {status:?}");
        let waits = capabilities.get(piece.get("for"));
        assert_eq!(
            waits.is_some(),
            status == "waiting",
            "{name}: waits for what?"
        );
        let says_more = !piece.get("note").is_empty();
        assert!(
            says_more || !["works-differently", "replaced"].contains(&status),
            "{name}: how?"
        );
        let here = ["sql", "tables", "properties"].contains(&piece.get("kind"));
        let run = here || is_run_elsewhere(piece);
        let asked = status == "replaced" && !words(&piece.entry["try"]).is_empty();
        assert!(
            run || asked || status == "waiting",
            "{name}: {status}, but nothing runs it"
        );
        needed.insert(piece.get("for").to_owned());
    }
    for name in capabilities.keys() {
        assert!(needed.contains(name), "no piece waits for {name}");
    }
}

/// Whether the module of tests that is said to run a piece names it.
fn is_run_elsewhere(piece: &Piece) -> bool {
    let module = piece.get("run_by");
    if module.is_empty() {
        return false;
    }
    let path = repository::root().join(format!("tests/it/{module}.rs"));
    let test = fs::read_to_string(path).unwrap();
    assert!(
        test.contains(piece.get("file")),
        "{}: not in {module}",
        piece.name
    );
    true
}
