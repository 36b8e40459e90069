//! The metrics of `docs/metrics.md`. Another test compares that page with what running services show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use stoker_tests::repository;

/// Types of metrics by name.
pub(crate) fn read() -> BTreeMap<String, String> {
    let page = fs::read_to_string(repository::root().join("docs/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `stoker_"));
    let metrics: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())
        })
        .collect();
    assert!(metrics.len() > 30, "too few metrics: {metrics:?}");
    metrics
}

/// The metrics that a PromQL expression names: words that begin as ours do, but for those within quotes.
pub(crate) fn named_in(expression: &str) -> BTreeSet<String> {
    let outside: Vec<_> = expression.split('"').step_by(2).collect();
    let outside = outside.join(" ");
    let words = outside.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| word.starts_with("stoker_"))
        .map(str::to_owned)
        .collect()
}

/// Those of `names` that no service shows.
pub(crate) fn unknown(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let metrics = read();
    let is_known = |name: &String| {
        let series = ["_bucket", "_count", "_sum"];
        let of_histogram = series.iter().filter_map(|end| name.strip_suffix(end));
        metrics.get(name).is_some_and(|kind| kind != "histogram")
            || of_histogram
                .filter_map(|base| metrics.get(base))
                .any(|kind| kind == "histogram")
    };
    names.into_iter().filter(|name| !is_known(name)).collect()
}

#[test]
fn metrics_are_found_in_expressions() {
    let names = named_in("max(stoker_a_units{state=\"stoker_b\"}) / rate(stoker_c_total[5m])");
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        ["stoker_a_units", "stoker_c_total"]
    );
    let some = [
        "stoker_loader_worker_request_seconds_bucket",
        "stoker_loader_worker_request_seconds",
        "stoker_loader_worker_units",
        "stoker_loader_worker_nothing",
    ];
    assert_eq!(
        unknown(some.map(str::to_owned)),
        [
            "stoker_loader_worker_request_seconds",
            "stoker_loader_worker_nothing"
        ]
    );
}
