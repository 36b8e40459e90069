//! Alert rules: promtool has them fire and not fire.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::{env, fs};

use stoker_tests::{repository, yaml};

use super::{alerts, files, stem};
use crate::catalogue::{named_in, unknown};
use crate::tools::must_run;

const PROMTOOL: &str = "STOKER_TEST_PROMTOOL";

#[test]
fn every_rule_passes_its_tests() {
    for (action, folder) in [("check", "rules"), ("test", "tests")] {
        let files = files(folder);
        let mut args = vec![action, "rules"];
        args.extend(files.iter().map(|file| file.to_str().unwrap()));
        must_run(PROMTOOL, &args, &repository::root());
    }
}

/// promtool passes a rule without a test.
#[test]
fn every_alert_is_seen_to_fire_and_not_to_fire() {
    let mut seen: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    for file in files("tests") {
        for test in yaml::read(&file)["tests"].as_array().unwrap() {
            for case in test["promql_expr_test"].as_array().unwrap() {
                let expression = case["expr"].as_str().unwrap();
                let named = expression
                    .strip_prefix("count(ALERTS{alertname=\"")
                    .and_then(|rest| rest.strip_suffix("\", alertstate=\"firing\"})"));
                let named = named.unwrap_or_else(|| panic!("{}: {expression}", file.display()));
                let fires = !case["exp_samples"].as_array().unwrap().is_empty();
                seen.entry(named.to_owned()).or_default()[usize::from(fires)] = true;
            }
        }
    }
    for (file, alert) in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert_eq!(
            seen.get(name),
            Some(&[true, true]),
            "{file}: {name}: [not firing, firing]"
        );
    }
    assert_eq!(
        seen.len(),
        alerts().len(),
        "tests of alerts that are not there"
    );
}

#[test]
fn every_alert_is_about_what_is_measured() {
    for (file, alert) in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let expression = alert["expr"].as_str().unwrap();
        assert_eq!(unknown(named_in(expression)), [""; 0], "{file}: {name}");
        let is_measured = !named_in(expression).is_empty() || expression.contains("up{job=");
        assert!(is_measured, "{file}: {name}");
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(
            ["critical", "warning"].contains(&severity),
            "{file}: {name}: {severity}"
        );
        for annotation in ["summary", "description"] {
            assert!(
                alert["annotations"][annotation].is_string(),
                "{file}: {name}: {annotation}"
            );
        }
    }
}

/// The operator's objects hold the same text. `UPDATE=1` writes them anew.
#[test]
fn the_operator_is_given_the_same_rules() {
    let list = yaml::read(&repository::root().join("monitoring/kustomization.yaml"));
    for file in files("rules") {
        let name = stem(&file);
        let mut text = format!(
            "# Made from monitoring/rules/{name}.yaml: UPDATE=1 cargo test --workspace --test platform\n\
             apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n\
             metadata:\n  name: stoker-{name}\nspec:\n"
        );
        for line in fs::read_to_string(&file).unwrap().lines() {
            let kept = !line.starts_with('#');
            let indent = if line.is_empty() { "" } else { "  " };
            if kept {
                writeln!(text, "{indent}{line}").unwrap();
            }
        }
        let made = format!("kubernetes/rules-{name}.yaml");
        let path = repository::root().join("monitoring").join(&made);
        if env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, text, "{}: run it with UPDATE=1", path.display());
        let listed = list["resources"].as_array().unwrap().iter();
        assert!(
            listed.clone().any(|file| file == &made),
            "{made} is in no kustomization"
        );
    }
}
