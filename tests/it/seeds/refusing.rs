//! What waits is tried: it must be refused until it is marked as working.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stoker_tests::stoker::{Run, Stoker};

use super::documents::{capabilities, documents, words};

/// What is asked of `stoker`, and what its refusal says.
fn refusals() -> BTreeSet<(Vec<String>, String)> {
    let mut refusals = BTreeSet::new();
    let mut add = |args: Vec<String>, says: &str| {
        if !args.is_empty() {
            refusals.insert((args, says.to_owned()));
        }
    };
    for capability in capabilities().values() {
        let says = capability["says"].as_str().unwrap_or_default();
        add(words(&capability["try"]), says);
    }
    for document in documents() {
        for piece in &document.pieces {
            add(words(&piece.entry["try"]), piece.get("says"));
            if piece.get("status") == "waiting" {
                let unknown = format!("unrecognized subcommand '{}'", document.folder);
                let says = Some(piece.get("says")).filter(|says| !says.is_empty());
                add(
                    drop_in(&document.folder, &piece.text),
                    says.unwrap_or(&unknown),
                );
            }
        }
    }
    refusals
}

/// A command line of a Java tool, for the command of `stoker` with the tool's name; empty for other text.
fn drop_in(tool: &str, text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let Some(command) = joined.lines().find_map(|line| line.strip_prefix("java ")) else {
        return Vec::new();
    };
    let mut words = command
        .split_whitespace()
        .map(|word| word.trim_matches('"').to_owned());
    let mut args = vec![tool.to_owned()];
    while let Some(word) = words.next() {
        if word == "-jar" {
            words.next();
        } else {
            args.push(word);
        }
    }
    args
}

#[test]
fn command_lines_of_the_java_tools_become_ours() {
    let documents = documents();
    let drop_ins = documents.iter().flat_map(|document| {
        let pieces = document.pieces.iter();
        pieces.map(|piece| drop_in(&document.folder, &piece.text))
    });
    assert_eq!(drop_ins.filter(|args| !args.is_empty()).count(), 9);
    let text = "JAR=x.jar\n\njava -Da=b -jar \"${JAR}\" \\\n  --no-scan \\\n  --name \"x\"";
    let ours = ["fhir-bucket", "-Da=b", "--no-scan", "--name", "x"];
    assert_eq!(drop_in("fhir-bucket", text), ours);
}

const ADVICE: &str =
    "Mark in tests/seeds what works now; give what still waits another `try` and `says`.";

#[tokio::test]
async fn what_waits_is_refused_and_what_is_replaced_says_so() {
    let user = Stoker::new().unwrap();
    let mut wrong = String::new();
    for (args, says) in refusals() {
        assert!(!says.is_empty(), "{args:?}: what does it say?");
        let Run { code, stderr, .. } = user.args(&args).run().await.unwrap();
        if code != 1 || !stderr.contains(&says) {
            let args = args.join(" ");
            let expected = format!("not exit code 1 and {says:?}");
            writeln!(wrong, "stoker {args}: {code} and {stderr:?}, {expected}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}{ADVICE}");
}

#[test]
fn what_is_waited_for_is_tried_or_cannot_be() {
    for (name, capability) in capabilities() {
        let seen = ["try", "untried"].map(|how| capability.get(how).is_some());
        assert!(
            seen[0] != seen[1],
            "{name}: how is it seen that it is not there?"
        );
    }
}
