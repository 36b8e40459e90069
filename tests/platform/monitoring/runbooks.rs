//! Every alert says where its runbook is, and is there.

use std::collections::BTreeSet;
use std::fs;

use stoker_tests::repository;

use super::{alerts, stem};

#[test]
fn every_alert_has_its_runbook() {
    let folder = repository::root().join("docs/runbooks");
    let mut written = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        for section in text.split("\n## ").skip(1) {
            let (name, body) = section.split_once('\n').unwrap();
            assert!(
                body.trim().len() > 80,
                "{}: {name} says too little",
                file.display()
            );
            written.insert((stem(&file), name.to_owned()));
        }
    }
    let mut wanted = BTreeSet::new();
    for (file, alert) in alerts() {
        let name = alert["alert"].as_str().unwrap().to_owned();
        let place = format!("docs/runbooks/{file}.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], place.as_str(), "{name}");
        wanted.insert((file, name));
    }
    assert_eq!(written, wanted, "left: written; right: alerts");
}
