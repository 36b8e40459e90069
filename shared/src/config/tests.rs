use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;
use crate::secret::Secret;
use crate::service::ServiceSettings;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sample {
    service: ServiceSettings,
    page_size: u32,
    password: Option<Secret>,
    names: Vec<String>,
    headers: BTreeMap<String, Secret>,
    #[serde(with = "humantime_serde")]
    pause: Duration,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            service: ServiceSettings::on_port(7701),
            page_size: 500,
            password: None,
            names: Vec::new(),
            headers: BTreeMap::new(),
            pause: Duration::from_secs(1),
        }
    }
}

impl Settings for Sample {
    fn validate(&self, faults: &mut Faults) {
        if self.page_size == 0 {
            faults.add("page_size", "is 0, expected at least 1");
        }
    }
}

/// Loads `yaml` with environment and flags.
struct Given {
    folder: TempDir,
    load: Load,
}

fn given(yaml: &str, environment: &[(&str, &str)]) -> Given {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("stoker.yaml"), yaml).unwrap();
    let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    let load = Load {
        environment: environment.iter().map(own).collect(),
        folder: folder.path().to_owned(),
        ..Load::section("bucket-scanner")
    };
    Given { folder, load }
}

impl Given {
    fn read(&self) -> Sample {
        load(&self.load).unwrap()
    }

    /// The faults, with the file's folder left out.
    fn faults(&self) -> Vec<String> {
        let faults = load::<Sample>(&self.load).unwrap_err();
        let folder = format!("{}/", self.folder.path().display());
        let mut texts: Vec<_> = faults
            .0
            .iter()
            .map(|f| f.to_string().replace(&folder, ""))
            .collect();
        texts.sort();
        texts
    }
}

#[test]
fn defaults_stand_where_nothing_is_given() {
    assert_eq!(given("", &[]).read(), Sample::default());
    assert_eq!(given("bucket_scanner:\n", &[]).read(), Sample::default());
    let nested = "bucket_scanner:\n  service:\n    grpc:\n      # listen: 0.0.0.0:1\n";
    assert_eq!(given(nested, &[]).read(), Sample::default());
}

#[test]
fn a_list_is_a_text_with_commas_in_the_environment() {
    let given = given("", &[("STOKER__BUCKET_SCANNER__NAMES", "a, b,")]);
    assert_eq!(given.read().names, ["a", "b"]);
}

#[test]
fn a_secret_in_the_wrong_form_is_not_shown() {
    let given = given("bucket_scanner: {headers: 'X-Key: hush'}", &[]);
    let faults = given.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("headers: is a text"), "{faults:?}");
    assert!(!faults[0].contains("hush"), "{faults:?}");
}

#[test]
fn flags_beat_environment_beats_file_beats_defaults() {
    let yaml =
        "bucket_scanner:\n  page_size: 1\n  pause: 2s\n  service:\n    shutdown_deadline: 5s\n";
    let mut given = given(
        yaml,
        &[
            ("STOKER__BUCKET_SCANNER__PAGE_SIZE", "2"),
            ("STOKER__BUCKET_SCANNER__PAUSE", "3s"),
        ],
    );
    given
        .load
        .overrides
        .push(("page_size".to_owned(), "3".to_owned()));
    let read = given.read();
    assert_eq!((read.page_size, read.pause), (3, Duration::from_secs(3)));
    assert_eq!(read.service.shutdown_deadline, Duration::from_secs(5));
    assert_eq!(read.service.grpc, ServiceSettings::on_port(7701).grpc);
}

#[test]
fn one_file_may_serve_several_services() {
    let yaml = "loader_worker:\n  whatever: [1, 2]\nbucket_scanner:\n  page_size: 7\n";
    assert_eq!(given(yaml, &[]).read().page_size, 7);
}

#[test]
fn all_faults_are_told_at_once_with_key_and_origin() {
    let yaml = "
bucket_scaner: {x: 1}
bucket_scanner:
  page_size: many
  pause: soon
  pagesize: 3
  names: [a, b]
  service:
    grpc: {listen: nowhere, tokn: x}
    telemetry: {log_format: loud}
";
    let environment = [
        ("STOKER__BUCKET_SCANNER__SERVICE__HTTP_LISTEN", "here"),
        ("STOKER__BUCKET_SCANNER__SERVICE__SHUTDOWN", "1s"),
        ("STOKER__LODER_WORKER__X", "1"),
    ];
    let faults = given(yaml, &environment).faults();
    for (fault, start, end) in [
        (0, "bucket_scaner: not a section", "(from stoker.yaml)"),
        (
            1,
            "bucket_scanner.page_size: is string \"many\", expected",
            "(from stoker.yaml)",
        ),
        (
            2,
            "bucket_scanner.pagesize: unknown field `pagesize`, expected one of",
            "(from stoker.yaml)",
        ),
        (3, "bucket_scanner.pause: ", "(from stoker.yaml)"),
        (
            4,
            "bucket_scanner.service.grpc.listen: invalid socket address",
            "(from stoker.yaml)",
        ),
        (
            5,
            "bucket_scanner.service.grpc.tokn: unknown field",
            "(from stoker.yaml)",
        ),
        (
            6,
            "bucket_scanner.service.http_listen: ",
            "(from STOKER__BUCKET_SCANNER__SERVICE__HTTP_LISTEN)",
        ),
        (
            7,
            "bucket_scanner.service.shutdown: unknown field",
            "(from STOKER__BUCKET_SCANNER__SERVICE__SHUTDOWN)",
        ),
        (
            8,
            "bucket_scanner.service.telemetry.log_format: is \"loud\", expected auto",
            "(from stoker.yaml)",
        ),
        (
            9,
            "loder_worker: not a section",
            "(from STOKER__LODER_WORKER__X)",
        ),
    ] {
        let text = faults.get(fault).map(String::as_str).unwrap_or_default();
        assert!(
            text.starts_with(start) && text.ends_with(end),
            "{start} … {end} in {faults:#?}"
        );
    }
    assert_eq!(faults.len(), 10, "{faults:#?}");
}

#[test]
fn values_that_make_no_sense_are_faults_too() {
    let zero = given("bucket_scanner:\n  page_size: 0\n  x: 1\n", &[]).faults();
    assert_eq!(
        zero[0],
        "bucket_scanner.page_size: is 0, expected at least 1 (from stoker.yaml)"
    );
    assert!(
        zero[1].starts_with("bucket_scanner.x: unknown field"),
        "{zero:?}"
    );
}

#[test]
fn flags_are_told_as_the_origin() {
    let mut given = given("", &[]);
    given
        .load
        .overrides
        .push(("page_size".to_owned(), "x".to_owned()));
    let faults = given.faults();
    assert!(faults[0].ends_with("(from --set page_size)"), "{faults:?}");
}

#[test]
fn unfit_items_of_an_array_are_told() {
    let faults = given("bucket_scanner:\n  names: [a, [b]]\n  page_size: x\n", &[]).faults();
    assert!(
        faults[0].starts_with("bucket_scanner.names.1: is "),
        "{faults:?}"
    );
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn files_that_are_missing_or_no_yaml_are_told_by_name() {
    let mut missing = given("", &[("STOKER_CONFIG", "/no/such/stoker.yaml")]);
    let fault = &missing.faults()[0];
    assert!(
        fault.starts_with("/no/such/stoker.yaml: cannot be read"),
        "{fault}"
    );
    missing.load.file = Some(missing.folder.path().join("stoker.yaml"));
    assert_eq!(missing.read(), Sample::default());
    let fault = given("a: [1\nb: }", &[]).faults().remove(0);
    assert!(
        fault.starts_with("stoker.yaml: cannot be read as YAML"),
        "{fault}"
    );
}

#[test]
fn the_users_own_file_is_found_last() {
    let home = given("", &[]);
    std::fs::create_dir_all(home.folder.path().join(".config/stoker")).unwrap();
    let own = home.folder.path().join(".config/stoker/stoker.yaml");
    std::fs::write(&own, "").unwrap();
    let mut load = home.load.clone();
    load.environment
        .insert("HOME".to_owned(), home.folder.path().display().to_string());
    assert_eq!(file(&load), Some(home.folder.path().join("stoker.yaml")));
    load.folder = Path::new("/no/such/folder").to_owned();
    assert_eq!(file(&load), Some(own));
}

#[test]
fn what_is_shown_reads_the_same_and_hides_secrets() {
    let config = Sample {
        names: vec!["a: b".to_owned(), "ü\n".to_owned()],
        headers: [("X-Key: odd".to_owned(), Secret::from("s3cret"))].into(),
        ..Sample::default()
    };
    let shown = show("bucket_scanner", &config).unwrap();
    assert!(
        !shown.contains("s3cret") && shown.contains("\"X-Key: odd\": \"***\""),
        "{shown}"
    );
    let read = given(&shown, &[]).read();
    assert_eq!(read.names, config.names);
    assert_eq!(read.service, config.service);
}
