//! Every container of Stoker is started as Stoker's command line and configuration have it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stoker_tests::certificates::Authority;
use stoker_tests::repository;
use stoker_tests::stoker::{isolated, stoker_bin};
use tempfile::TempDir;

use super::confined::secrets_in;
use super::{build, called, items, kind, name, overlays, text, workloads};

/// Every service there is has a commented configuration, and so has to have a workload.
#[test]
fn every_service_is_deployed() {
    let files = fs::read_dir(repository::root().join("config")).unwrap();
    let services: BTreeSet<_> = files
        .map(|file| file.unwrap().path())
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let base = build(Path::new("k8s/base"));
    let deployed: BTreeSet<_> = workloads(&base.objects)
        .iter()
        .filter(|workload| workload.goes_on)
        .map(|workload| name(workload.object).to_owned())
        .collect();
    assert_eq!(deployed, services);
}

#[test]
fn every_container_is_started_as_the_command_line_has_it() {
    let home = tempfile::tempdir().unwrap();
    let mut started = 0;
    for overlay in overlays() {
        for workload in workloads(&overlay.objects).iter().filter(|w| w.is_stoker()) {
            for container in workload.containers() {
                let args = items(container, "/args");
                let mut command = isolated(&stoker_bin().unwrap(), home.path());
                command.args(args.iter().map(|arg| arg.as_str().unwrap()));
                // What stands before it is read all the same.
                let output = command.arg("--help").output().unwrap();
                let error = String::from_utf8_lossy(&output.stderr);
                let at = format!("{}: {}", overlay.folder.display(), called(workload.object));
                assert!(output.status.success(), "{at}: {error}");
                started += 1;
            }
        }
    }
    assert!(started > 10, "only {started} containers");
}

#[test]
fn every_service_takes_its_configuration() {
    for overlay in overlays() {
        let files = config_files(&overlay.objects);
        for workload in workloads(&overlay.objects).iter().filter(|w| w.is_stoker()) {
            for container in workload.containers() {
                let args: Vec<_> = items(container, "/args")
                    .iter()
                    .map(|a| a.as_str().unwrap())
                    .collect();
                let ["serve", service, "--config", path] = args[..] else {
                    continue;
                };
                let at = format!("{}: {service}", overlay.folder.display());
                assert_eq!(path, format!("/etc/stoker/{service}.yaml"), "{at}");
                let config = files.get(&format!("{service}.yaml"));
                let config = config.unwrap_or_else(|| panic!("{at}: no {path}"));
                let checked = check(workload.template, container, config);
                assert!(checked.is_ok(), "{at}: {checked:?}");
                listens_as_its_ports_say(container, config, &at);
            }
        }
    }
}

/// Has `stoker` look at a configuration as it is in the pod, with files in the place of the secrets.
fn check(template: &Value, container: &Value, config: &str) -> Result<(), String> {
    let pod = Pod::new(template);
    pod.has_all_of(config)?;
    let home = pod.folder.path();
    let file = home.join("config.yaml");
    fs::write(&file, pod.inside(config)).unwrap();
    let mut command = isolated(&stoker_bin().unwrap(), home);
    command.args(["config", "check", "--config"]).arg(&file);
    for variable in items(container, "/env") {
        let value = variable.get("value").and_then(Value::as_str);
        let value = pod.inside(value.unwrap_or("filled-in"));
        command.env(text(variable, "/name"), value);
    }
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(error)
    }
}

/// A pod's file system: of the secrets that it mounts, the keys that `docs/kubernetes.md` names.
struct Pod {
    folder: TempDir,
}

impl Pod {
    fn new(template: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("stoker");
        fs::create_dir(&secrets).unwrap();
        let mut mounted = BTreeSet::new();
        secrets_in(template, &mut mounted);
        let guide = fs::read_to_string(repository::root().join("docs/kubernetes.md")).unwrap();
        let table = guide
            .lines()
            .skip_while(|line| !line.starts_with("| Secret in "));
        let rows = table.take_while(|line| line.starts_with('|')).skip(2);
        // | `secret` | `key`, `key` | used by |
        for row in rows {
            let quoted = |cell: usize| {
                row.split('|')
                    .nth(cell)
                    .unwrap()
                    .split('`')
                    .skip(1)
                    .step_by(2)
            };
            if quoted(1)
                .next()
                .is_some_and(|secret| mounted.contains(secret))
            {
                for key in quoted(2) {
                    fs::write(secrets.join(key), "secret").unwrap();
                }
            }
        }
        let tls = folder.path().join("tls");
        fs::create_dir(&tls).unwrap();
        let authority = Authority::new().unwrap();
        let (certificate, key) = authority.sign("bucket-scanner").unwrap();
        fs::write(tls.join("tls.crt"), certificate.pem()).unwrap();
        fs::write(tls.join("tls.key"), key.serialize_pem()).unwrap();
        authority.write(&tls.join("ca.crt")).unwrap();
        Self { folder }
    }

    fn has_all_of(&self, config: &str) -> Result<(), String> {
        for named in config.split("/run/secrets/").skip(1) {
            let path = named.split_whitespace().next().unwrap_or_default();
            if !self.folder.path().join(path).is_file() {
                return Err(format!("/run/secrets/{path} is not in the pod"));
            }
        }
        Ok(())
    }

    /// What paths of the pod are here.
    fn inside(&self, text: &str) -> String {
        text.replace(
            "/run/secrets/",
            &format!("{}/", self.folder.path().display()),
        )
    }
}

#[test]
fn a_secret_that_is_not_in_the_pod_is_seen() {
    let template = json!({"secret": {"name": "reindex-driver"}});
    let config = "loader_worker:\n  fhir:\n    password_file: /run/secrets/stoker/fhir-password\n";
    assert_eq!(check(&template, &Value::Null, config), Ok(()));
    let template = json!({"secret": {"name": "remote-indexer"}});
    let refused = check(&template, &Value::Null, config).unwrap_err();
    assert_eq!(
        refused,
        "/run/secrets/stoker/fhir-password is not in the pod"
    );
}

fn config_files(objects: &[Value]) -> BTreeMap<String, String> {
    let maps = objects.iter().filter(|o| kind(o) == "ConfigMap");
    let ours = maps.filter(|o| name(o).starts_with("stoker-config"));
    let files = ours.flat_map(|map| map["data"].as_object().unwrap());
    let files = files.map(|(file, text)| (file.clone(), text.as_str().unwrap().to_owned()));
    files.collect()
}

fn listens_as_its_ports_say(container: &Value, config: &str, at: &str) {
    for port in items(container, "/ports") {
        let number = &port["containerPort"];
        assert!(
            config.contains(&format!("0.0.0.0:{number}")),
            "{at}: port {number}"
        );
    }
}
