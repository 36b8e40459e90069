//! Every container, ours or not, has limits, is looked after, and may do little.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use stoker_tests::repository;

use super::{Workload, called, kind, name, overlays, text, workloads};

#[test]
fn every_container_is_confined_and_looked_after() {
    let mut faults = Vec::new();
    for overlay in overlays() {
        let workloads = workloads(&overlay.objects);
        assert!(workloads.len() >= 3, "{}", overlay.folder.display());
        for workload in &workloads {
            let found = faults_of(workload);
            let at = format!("{}: {}", overlay.folder.display(), called(workload.object));
            faults.extend(found.into_iter().map(|fault| format!("{at}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_a_container_lacks_is_seen() {
    let bare = json!({"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": {
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let faults = faults_of(&workloads(&[bare])[0]);
    assert_eq!(faults.len(), 12, "{faults:#?}");
}

fn faults_of(workload: &Workload<'_>) -> Vec<String> {
    let pod = &workload.template["spec"];
    let mut faults = Vec::new();
    if pod["automountServiceAccountToken"] != json!(false) {
        faults.push("its pods are given a token of the cluster".to_owned());
    }
    let grace = pod["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    for container in workload.containers() {
        let own = &container["securityContext"];
        let of_pod = &pod["securityContext"];
        let set = |key: &str| match &own[key] {
            Value::Null => of_pod[key].clone(),
            value => value.clone(),
        };
        let mut wants = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{}: {what}", text(container, "/name")));
            }
        };
        for amount in [
            "/limits/cpu",
            "/limits/memory",
            "/requests/cpu",
            "/requests/memory",
        ] {
            let given = container["resources"].pointer(amount);
            wants(given.is_some(), &format!("no resources{amount}"));
        }
        wants(set("runAsNonRoot") == json!(true), "may run as root");
        wants(set("runAsUser").as_i64() > Some(0), "no user of its own");
        wants(
            set("seccompProfile")["type"] == "RuntimeDefault",
            "no seccomp profile",
        );
        wants(
            own["readOnlyRootFilesystem"] == json!(true),
            "may write its root",
        );
        wants(
            own["allowPrivilegeEscalation"] == json!(false),
            "may gain rights",
        );
        wants(
            own["capabilities"]["drop"] == json!(["ALL"]),
            "keeps capabilities",
        );
        if workload.goes_on {
            let probed =
                ["livenessProbe", "readinessProbe"].map(|probe| container[probe].is_object());
            wants(probed == [true, true], "is not probed");
        }
        if workload.goes_on && text(container, "/args/0") == "serve" {
            let wait = &container["lifecycle"]["preStop"]["sleep"]["seconds"];
            // service.shutdown_deadline
            let needs = wait.as_i64().unwrap_or(0) + 30;
            wants(wait.is_i64(), "goes before its callers know");
            wants(grace > needs, "is killed before it has stopped");
        }
    }
    faults
}

#[test]
fn secrets_are_only_referred_to_and_the_guide_names_them() {
    let guide = fs::read_to_string(repository::root().join("docs/kubernetes.md")).unwrap();
    for overlay in overlays() {
        let at = overlay.folder.display();
        let mut referred = BTreeSet::new();
        for object in &overlay.objects {
            assert_ne!(kind(object), "Secret", "{at}: {}", name(object));
            secrets_in(object, &mut referred);
        }
        for secret in referred {
            assert!(
                guide.contains(&format!("`{secret}`")),
                "{at}: {secret} is not in the guide"
            );
        }
        for workload in workloads(&overlay.objects) {
            for container in workload.containers() {
                for variable in super::items(container, "/env") {
                    let named = text(variable, "/name").to_uppercase();
                    let is_secret = ["PASSWORD", "TOKEN", "SECRET", "ACCESS_KEY"]
                        .iter()
                        .any(|word| named.ends_with(word));
                    let literal = variable.get("value").is_some();
                    assert!(!(is_secret && literal), "{at}: {named} is written out");
                }
            }
        }
    }
}

/// Names of the secrets that something refers to.
pub(super) fn secrets_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, inner) in entries {
                let named = match key.as_str() {
                    "secretName" => inner.as_str(),
                    "secret" | "secretKeyRef" | "secretRef" => inner["name"].as_str(),
                    _ => None,
                };
                found.extend(named.map(str::to_owned));
                secrets_in(inner, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| secrets_in(item, found)),
        _ => {}
    }
}
