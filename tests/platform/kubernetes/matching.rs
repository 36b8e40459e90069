//! What refers to something finds it.

use serde_json::Value;

use super::{Workload, called, items, kind, name, overlays, text, workloads};

#[test]
fn every_selector_finds_its_workload() {
    for overlay in overlays() {
        let workloads = workloads(&overlay.objects);
        for object in &overlay.objects {
            let at = format!("{}: {}", overlay.folder.display(), called(object));
            let selected = |pointer: &str| {
                let labels = object
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("{at}: no {pointer}"));
                let here = |w: &&Workload<'_>| w.namespace() == text(object, "/metadata/namespace");
                workloads
                    .iter()
                    .filter(here)
                    .filter(|w| w.has_labels(labels))
                    .collect::<Vec<_>>()
            };
            match kind(object) {
                "PodDisruptionBudget" => {
                    assert_eq!(selected("/spec/selector/matchLabels").len(), 1, "{at}");
                }
                "Deployment" | "StatefulSet" => {
                    assert_eq!(selected("/spec/selector/matchLabels").len(), 1, "{at}");
                    let account = text(object, "/spec/template/spec/serviceAccountName");
                    let has = |o: &Value| kind(o) == "ServiceAccount" && name(o) == account;
                    assert!(
                        account.is_empty() || overlay.objects.iter().any(has),
                        "{at}: {account}"
                    );
                }
                "Service" => {
                    let found = selected("/spec/selector");
                    assert_eq!(found.len(), 1, "{at}");
                    ports_are_there(object, found[0], &at);
                }
                "NetworkPolicy" => {
                    let all = object.pointer("/spec/podSelector").unwrap();
                    if all.get("matchLabels").is_some() {
                        assert!(
                            !selected("/spec/podSelector/matchLabels").is_empty(),
                            "{at}"
                        );
                    }
                }
                "Ingress" => backends_are_there(object, &overlay.objects, &at),
                _ => {}
            }
        }
    }
}

fn ports_are_there(service: &Value, workload: &Workload<'_>, at: &str) {
    for port in items(service, "/spec/ports") {
        let target = text(port, "/targetPort");
        let mut names = Vec::new();
        for container in workload.containers() {
            names.extend(items(container, "/ports").iter().map(|p| text(p, "/name")));
        }
        assert!(names.contains(&target), "{at}: {target} of {names:?}");
    }
}

fn backends_are_there(ingress: &Value, objects: &[Value], at: &str) {
    for rule in items(ingress, "/spec/rules") {
        for path in items(rule, "/http/paths") {
            let wanted = text(path, "/backend/service/name");
            let found = objects
                .iter()
                .any(|o| kind(o) == "Service" && name(o) == wanted);
            assert!(found, "{at}: no Service {wanted}");
        }
    }
}

#[test]
fn every_service_of_stoker_has_what_belongs_to_it() {
    for overlay in overlays() {
        let objects = &overlay.objects;
        for workload in workloads(objects)
            .iter()
            .filter(|w| w.goes_on && w.is_stoker())
        {
            let service = name(workload.object);
            if service == "sandbox" {
                continue;
            }
            let has = |of: &str| objects.iter().any(|o| kind(o) == of && name(o) == service);
            for of in ["Service", "ServiceAccount", "PodDisruptionBudget"] {
                assert!(
                    has(of),
                    "{}: {service} has no {of}",
                    overlay.folder.display()
                );
            }
        }
    }
}

#[test]
fn rollouts_lose_nothing() {
    for overlay in overlays() {
        let file_ledger = overlay.folder.ends_with("dev");
        for workload in workloads(&overlay.objects) {
            if kind(workload.object) != "Deployment" || file_ledger {
                continue;
            }
            let update = &workload.object["spec"]["strategy"]["rollingUpdate"];
            let at = format!("{}: {}", overlay.folder.display(), called(workload.object));
            assert_eq!(update["maxUnavailable"], 0, "{at}");
        }
    }
}
