//! Autoscalers scale what is there, by what is measured.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stoker_tests::{repository, yaml};

use super::{Built, called, items, kind, name, overlays, text, workloads};
use crate::catalogue::{named_in, unknown};

/// Metrics that prometheus-adapter serves, with the queries behind them.
fn served(built: &Built) -> BTreeMap<String, String> {
    let maps = built.objects.iter().filter(|o| kind(o) == "ConfigMap");
    let configs = maps.filter(|o| name(o).ends_with("adapter-rules"));
    let mut served = BTreeMap::new();
    for config in configs {
        let rules = yaml::parse(text(config, "/data/config.yaml")).remove(0);
        let mut all = items(&rules, "/externalRules");
        all.extend(items(&rules, "/rules"));
        for rule in all {
            let query = text(rule, "/metricsQuery").to_owned();
            served.insert(text(rule, "/name/as").to_owned(), query);
        }
    }
    served
}

#[test]
fn every_autoscaler_reads_metrics_that_are_served() {
    let mut read = BTreeSet::new();
    for overlay in overlays() {
        let served = served(overlay);
        for scaler in overlay
            .objects
            .iter()
            .filter(|o| kind(o) == "HorizontalPodAutoscaler")
        {
            let at = format!("{}: {}", overlay.folder.display(), called(scaler));
            for metric in items(scaler, "/spec/metrics") {
                let named = match text(metric, "/type") {
                    "Resource" => continue,
                    "External" => text(metric, "/external/metric/name"),
                    "Pods" => text(metric, "/pods/metric/name"),
                    other => panic!("{at}: a metric of type {other}"),
                };
                let query = served.get(named);
                let query =
                    query.unwrap_or_else(|| panic!("{at}: {named} is not in the adapter's rules"));
                read.insert(named.to_owned());
                assert_eq!(unknown(named_in(query)), [""; 0], "{at}: {named}");
            }
        }
    }
    let ours = [
        "stoker_loader_work_units",
        "stoker_remote_indexer_lag_seconds",
    ];
    assert!(ours.iter().all(|metric| read.contains(*metric)), "{read:?}");
}

#[test]
fn the_adapter_serves_nothing_that_is_not_measured() {
    let rules = yaml::read(&repository::root().join("monitoring/adapter/rules.yaml"));
    let rules = items(&rules, "/externalRules");
    assert!(!rules.is_empty());
    for rule in rules {
        for query in ["/seriesQuery", "/metricsQuery"] {
            let named = named_in(text(rule, query));
            assert!(!named.is_empty(), "{rule}");
            assert_eq!(unknown(named), [""; 0], "{rule}");
        }
    }
}

#[test]
fn keda_asks_what_the_adapter_asks() {
    let built = overlays();
    let adapter = built
        .iter()
        .map(served)
        .find(|served| !served.is_empty())
        .unwrap();
    let adapter: BTreeSet<_> = adapter.values().map(|query| named_in(query)).collect();
    let scaled = built.iter().flat_map(|overlay| &overlay.objects);
    let scaled: Vec<_> = scaled.filter(|o| kind(o) == "ScaledObject").collect();
    assert!(scaled.len() >= 2, "no ScaledObjects");
    for object in scaled {
        for trigger in items(object, "/spec/triggers") {
            if text(trigger, "/type") != "prometheus" {
                continue;
            }
            let named = named_in(text(trigger, "/metadata/query"));
            assert!(adapter.contains(&named), "{}: {named:?}", called(object));
        }
    }
}

#[test]
fn every_autoscaler_has_its_workload_alone() {
    for overlay in overlays() {
        let mut scaled = BTreeSet::new();
        let scalers = ["HorizontalPodAutoscaler", "ScaledObject"];
        for scaler in overlay
            .objects
            .iter()
            .filter(|o| scalers.contains(&kind(o)))
        {
            let at = format!("{}: {}", overlay.folder.display(), called(scaler));
            let target = &scaler["spec"]["scaleTargetRef"];
            let namespace = text(scaler, "/metadata/namespace");
            let workloads = workloads(&overlay.objects);
            let found = workloads.iter().find(|w| {
                let here = (kind(w.object), name(w.object), w.namespace());
                here == (text(target, "/kind"), text(target, "/name"), namespace)
            });
            let found = found.unwrap_or_else(|| panic!("{at}: no such workload"));
            let replicas = &found.object["spec"]["replicas"];
            assert_eq!(
                replicas,
                &Value::Null,
                "{at}: replicas are the autoscaler's to set"
            );
            assert!(
                scaled.insert((namespace, name(found.object))),
                "{at}: scaled twice"
            );
            let behaviour = [
                "/spec/behavior",
                "/spec/advanced/horizontalPodAutoscalerConfig/behavior",
            ];
            let window = behaviour.iter().find_map(|at| {
                scaler.pointer(&format!("{at}/scaleDown/stabilizationWindowSeconds"))
            });
            assert!(
                window.and_then(Value::as_i64) >= Some(300),
                "{at}: it would flap"
            );
        }
    }
}
