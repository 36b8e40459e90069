//! One trace for each unit, over worker, FHIR server, scanner and Kafka, told to a collector.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::TraceContextExt as _;
use stoker_proto::common::v1::{Interaction, Source, Target};
use stoker_proto::events::v1::event::Kind;
use stoker_proto::ledger::v1::StartJobRequest;
use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_shared::clock::SystemClock;
use stoker_shared::kafka::{Events, Heard, KafkaConfig, Listener};
use stoker_shared::object_store::host_name;
use stoker_tests::kafka::Kafka;
use stoker_tests::otlp::{Collector, Received};
use stoker_tests::parts;
use stoker_tests::services::{Service, until_done};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const FILES: usize = 3;
/// In every file's name and every resource's id: as names of patients can be.
const PRIVATE: &str = "jane-doe";
const LIMIT: Duration = Duration::from_mins(1);

/// Passes connections on to a server, and keeps what clients send.
#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Vec<Vec<u8>>>>);

impl Tap {
    /// Listens in front of `server`.
    async fn start(server: SocketAddr) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tap = Self::default();
        let taps = tap.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(taps.clone().pass(client, server));
            }
        });
        (tap, address)
    }

    async fn pass(self, client: TcpStream, server: SocketAddr) -> io::Result<()> {
        let (mut answers, mut requests) = TcpStream::connect(server).await?.into_split();
        let (mut from_client, mut to_client) = client.into_split();
        let back = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut to_client).await });
        let connection = {
            let mut sent = self.0.lock().unwrap();
            sent.push(Vec::new());
            sent.len() - 1
        };
        let mut part = vec![0; 64 << 10];
        loop {
            let length = from_client.read(&mut part).await?;
            if length == 0 {
                break;
            }
            self.0.lock().unwrap()[connection].extend_from_slice(&part[..length]);
            requests.write_all(&part[..length]).await?;
        }
        requests.shutdown().await?;
        back.await?.map(drop)
    }

    /// The trace and the span of every `traceparent` sent: `00-TRACE-SPAN-01`, as W3C has it.
    fn traceparents(&self) -> Vec<(String, String)> {
        let sent = self.0.lock().unwrap();
        let texts = sent.iter().map(|bytes| String::from_utf8_lossy(bytes));
        let mut found = Vec::new();
        for text in texts {
            for line in text.lines() {
                let Some(value) = line.strip_prefix("traceparent: ") else {
                    continue;
                };
                let parts: Vec<_> = value.trim().split('-').collect();
                assert_eq!((parts.len(), parts[0], parts[3]), (4, "00", "01"), "{line}");
                found.push((parts[1].to_owned(), parts[2].to_owned()));
            }
        }
        found
    }
}

fn write_files(folder: &Path) {
    for file in 0..FILES {
        let patient =
            |n| format!("{{\"resourceType\":\"Patient\",\"id\":\"{PRIVATE}-{file}-{n}\"}}\n");
        let mut lines: String = (0..5).map(patient).collect();
        // Is rejected, of which the worker tells as well.
        writeln!(lines, "{{\"resourceType\":\"{PRIVATE}\"").unwrap();
        fs::write(folder.join(format!("{PRIVATE}-{file}.ndjson")), lines).unwrap();
    }
}

fn request(data: &Path, server: SocketAddr) -> StartJobRequest {
    StartJobRequest {
        source: Some(Source {
            uri: format!("file://{}", data.display()),
            reach: host_name(),
        }),
        target: Some(Target {
            base_url: format!("http://{server}/fhir"),
            tenant: String::new(),
        }),
        interaction: Interaction::Auto.into(),
        reload: false,
        options: None,
    }
}

async fn listen(kafka: &Kafka) -> (Events, Listener) {
    let config = KafkaConfig {
        brokers: vec![kafka.broker()],
        ..KafkaConfig::default()
    };
    let events = Events::connect(&config, "test", Arc::new(SystemClock)).unwrap();
    let hearing = async {
        while !events.are_heard() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, hearing).await.unwrap();
    let listener = events.listen();
    (events, listener)
}

/// Listens until every file was told to be found, and a unit of it to be done: partitions keep no common order.
async fn heard_of_units(mut listener: Listener) -> Vec<Arc<Heard>> {
    let all = async {
        let mut heard = Vec::new();
        let is_all = |heard: &[Arc<Heard>]| {
            let count = |is: fn(&Kind) -> bool| {
                let kinds = heard.iter().filter_map(|one| one.event.kind.as_ref());
                kinds.filter(|kind| is(kind)).count()
            };
            count(|kind| matches!(kind, Kind::UnitDone(_))) >= FILES
                && count(|kind| matches!(kind, Kind::ObjectDiscovered(_))) >= FILES
        };
        while !is_all(&heard) {
            heard.extend(listener.next().await);
        }
        heard
    };
    tokio::time::timeout(LIMIT, all).await.unwrap()
}

/// Loads files of `folder`; what was told of it, once the services have stopped and told all.
async fn load(folder: &Path) -> (Vec<Received>, Tap, Vec<Arc<Heard>>) {
    let (collector, kafka) = (Collector::start().await.unwrap(), Kafka::start().unwrap());
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let (tap, server) = Tap::start(sandbox.address()).await;
    let both = [
        format!("service.telemetry.otlp_endpoint={}", collector.endpoint()),
        format!("kafka.brokers={}", kafka.broker()),
    ];
    let with = |own: String| [both.as_slice(), &[own]].concat();
    let ledger = format!("ledger={}", parts::fresh_database().await.unwrap());
    let scanner = Service::start("bucket-scanner", &with(ledger)).unwrap();
    let url = format!("ledger.url={}", scanner.url());
    let worker = Service::start("loader-worker", &with(url)).unwrap();
    let (_events, listener) = listen(&kafka).await;
    let mut client = scanner.jobs().await.unwrap();
    let job = client.start_job(request(folder, server)).await.unwrap();
    let job_id = job.into_inner().job.unwrap().job_id;
    let heard = heard_of_units(listener).await;
    until_done(&mut client, job_id, LIMIT).await.unwrap();
    for service in [worker, scanner] {
        assert_eq!(service.terminate().await.unwrap(), Some(0));
    }
    (collector.spans(), tap, heard)
}

/// The scanner's spans of a call.
fn calls<'a>(spans: &'a [Received], method: &str) -> Vec<&'a Received> {
    let path = format!("/stoker.ledger.v1.WorkService/{method}");
    let of_call = |s: &&Received| s.service == "bucket-scanner" && s.text("method") == Some(&path);
    spans.iter().filter(of_call).collect()
}

fn ids(span: &Received) -> (String, String) {
    (span.trace_id(), span.span_id())
}

fn parents(spans: &[&Received]) -> Vec<(String, String)> {
    spans
        .iter()
        .map(|s| (s.trace_id(), s.parent_id()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_is_one_trace_over_worker_fhir_server_scanner_and_kafka() {
    let _turn = parts::turn().await;
    stoker_shared::tls::install_crypto_provider();
    let data = tempfile::tempdir().unwrap();
    write_files(data.path());
    let (spans, tap, heard) = load(data.path()).await;

    let named = |name: &str| -> Vec<&Received> {
        let of_worker = spans.iter().filter(|s| s.service == "loader-worker");
        of_worker.filter(|s| s.span.name == name).collect()
    };
    let (units, requests) = (named("unit"), named("fhir_request"));
    assert_eq!(units.len(), FILES, "{spans:#?}");
    let (finishes, commits) = (calls(&spans, "FinishUnit"), calls(&spans, "CommitOutcomes"));
    let traceparents = tap.traceparents();
    for unit in &units {
        assert_eq!(unit.parent_id(), "", "a unit begins its trace");
        for (what, below) in [
            ("FinishUnit", parents(&finishes)),
            ("CommitOutcomes", parents(&commits)),
            ("fhir_request", parents(&requests)),
        ] {
            assert!(
                below.contains(&ids(unit)),
                "no {what} of {unit:?} in {below:?}"
            );
        }
        for key in ["job_id", "unit_id", "attempt"] {
            assert!(unit.number(key).is_some(), "{key} of {unit:?}");
        }
    }
    for request in &requests {
        assert_eq!(request.number("http.status"), Some(200), "{request:?}");
        assert!(
            traceparents.contains(&ids(request)),
            "{request:?} in {traceparents:?}"
        );
    }
    events_belong_to_units(&heard, &units, &finishes);
    a_scan_is_one_trace(&spans, &heard);
    nothing_private(&spans);
}

/// The listing, what it registered, and what it told of.
fn a_scan_is_one_trace(spans: &[Received], heard: &[Arc<Heard>]) {
    let named = |name: &str| -> Vec<&Received> {
        let of_scanner = spans.iter().filter(|s| s.service == "bucket-scanner");
        of_scanner.filter(|s| s.span.name == name).collect()
    };
    let (listings, registers) = (named("scan"), named("register"));
    let [scan] = listings[..] else {
        panic!("one source is listed once: {listings:#?}");
    };
    assert_eq!(scan.parent_id(), "", "a scan begins its trace");
    assert!(scan.number("source_id").is_some(), "{scan:?}");
    assert_eq!(scan.text("end"), Some("listed"), "{scan:?}");
    assert_eq!(parents(&registers), [ids(scan)]);
    assert_eq!(registers[0].number("objects"), i64::try_from(FILES).ok());
    let discovered = heard
        .iter()
        .filter(|h| matches!(h.event.kind, Some(Kind::ObjectDiscovered(_))));
    let of_scan = discovered.map(|h| context(h) == ids(scan));
    assert_eq!(of_scan.collect::<Vec<_>>(), [true; FILES]);
}

/// The trace and the span that an event's header names.
fn context(heard: &Heard) -> (String, String) {
    let span = heard.trace.span();
    let context = span.span_context();
    (
        context.trace_id().to_string(),
        context.span_id().to_string(),
    )
}

/// What the worker tells belongs to the unit's span, what the scanner tells to its span of the call.
fn events_belong_to_units(heard: &[Arc<Heard>], units: &[&Received], finishes: &[&Received]) {
    let mut done = 0;
    for heard in heard {
        match &heard.event.kind {
            Some(Kind::UnitDone(event)) => {
                let unit = units.iter().find(|unit| ids(unit) == context(heard));
                let unit = unit.unwrap_or_else(|| panic!("of no unit: {heard:?}"));
                assert_eq!(unit.number("unit_id"), Some(event.unit_id));
                done += 1;
            }
            Some(Kind::InputRejected(_)) => {
                assert!(units.iter().any(|u| ids(u) == context(heard)), "{heard:?}");
            }
            Some(Kind::LoadFinished(_)) => {
                assert!(
                    finishes.iter().any(|c| ids(c) == context(heard)),
                    "{heard:?}"
                );
            }
            _ => {}
        }
    }
    assert_eq!(done, FILES);
}

/// Neither names of files nor anything of a resource is in any span, its attributes or its events.
fn nothing_private(spans: &[Received]) {
    for received in spans {
        let told = format!("{received:?}");
        assert!(!told.contains(PRIVATE), "{told}");
    }
}
