//! The manifests in `k8s/` and `monitoring/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;
use stoker_tests::{repository, yaml};

use crate::tools::must_run;

mod commands;
mod confined;
mod matching;
mod scaling;
mod seeds;
mod valid;

/// What a folder with a `kustomization.yaml` builds.
pub(crate) struct Built {
    /// Below the repository.
    pub(crate) folder: PathBuf,
    /// The objects in it.
    pub(crate) objects: Vec<Value>,
}

/// Everything that people apply: each overlay, each example. Built once.
pub(crate) fn overlays() -> &'static [Built] {
    static BUILT: LazyLock<Vec<Built>> = LazyLock::new(build_all);
    &BUILT
}

fn build_all() -> Vec<Built> {
    let mut folders = Vec::new();
    for parent in ["k8s/overlays", "k8s/examples"] {
        let entries = fs::read_dir(repository::root().join(parent)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        let found: Vec<_> = names.map(|name| Path::new(parent).join(name)).collect();
        assert!(!found.is_empty(), "nothing in {parent}");
        folders.extend(found);
    }
    folders.sort();
    folders.iter().map(|folder| build(folder)).collect()
}

pub(crate) fn build(folder: &Path) -> Built {
    let name = folder.to_str().unwrap();
    let text = must_run(
        "STOKER_TEST_KUSTOMIZE",
        &["build", name],
        &repository::root(),
    );
    let objects = yaml::parse(&text);
    assert!(objects.len() > 5, "{name}: too few objects");
    Built {
        folder: folder.to_owned(),
        objects,
    }
}

pub(crate) fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

pub(crate) fn kind(object: &Value) -> &str {
    text(object, "/kind")
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// How messages call it.
pub(crate) fn called(object: &Value) -> String {
    let namespace = text(object, "/metadata/namespace");
    format!("{} {namespace}/{}", kind(object), name(object))
}

pub(crate) fn items<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map(|list| list.iter().collect()).unwrap_or_default()
}

/// A workload and the template of its pods.
pub(crate) struct Workload<'v> {
    pub(crate) object: &'v Value,
    pub(crate) template: &'v Value,
    /// It runs until it is told to stop.
    pub(crate) goes_on: bool,
}

impl Workload<'_> {
    pub(crate) fn containers(&self) -> Vec<&Value> {
        let mut all = items(self.template, "/spec/containers");
        all.extend(items(self.template, "/spec/initContainers"));
        all
    }

    pub(crate) fn has_labels(&self, wanted: &Value) -> bool {
        let labels = &self.template["metadata"]["labels"];
        let wanted = wanted.as_object().unwrap();
        wanted
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }

    pub(crate) fn namespace(&self) -> &str {
        text(self.object, "/metadata/namespace")
    }

    /// It is made of the image of Stoker.
    pub(crate) fn is_stoker(&self) -> bool {
        // stoker-postgres: with PostgreSQL's own programs beside it.
        let image = |c: &Value| text(c, "/image").starts_with("stoker");
        self.containers().into_iter().any(image)
    }
}

pub(crate) fn workloads(objects: &[Value]) -> Vec<Workload<'_>> {
    let found = objects.iter().filter_map(|object| {
        let (pointer, goes_on) = match kind(object) {
            "Deployment" | "StatefulSet" | "DaemonSet" => ("/spec/template", true),
            "Job" => ("/spec/template", false),
            "CronJob" => ("/spec/jobTemplate/spec/template", false),
            "Pod" => panic!("{}: a bare pod is gone with its node", called(object)),
            _ => return None,
        };
        Some(Workload {
            object,
            template: object.pointer(pointer).unwrap(),
            goes_on,
        })
    });
    found.collect()
}
