//! gRPC within the process and over TCP: the same server code, seen by its clients.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use stoker_proto::ledger::v1::work_service_client::WorkServiceClient;
use stoker_proto::ledger::v1::work_service_server::{SERVICE_NAME, WorkService, WorkServiceServer};
use stoker_proto::ledger::v1::{
    CommitOutcomesRequest, CommitOutcomesResponse, FinishUnitRequest, FinishUnitResponse,
    HeartbeatRequest, HeartbeatResponse, LeaseUnitsRequest, LeaseUnitsResponse,
    RegisterWorkerRequest, RegisterWorkerResponse, ReleaseUnitRequest, ReleaseUnitResponse,
    RenewLeasesRequest, RenewLeasesResponse,
};
use stoker_shared::grpc::{
    Channel, GrpcClientConfig, GrpcConfig, GrpcError, connect, in_process, listen, serve,
};
use stoker_shared::tls::TlsError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

use super::authority::Authority;

/// Answers heartbeats and notes the trace of each.
#[derive(Clone, Default)]
struct Heart {
    traces: Arc<Mutex<Vec<String>>>,
}

type Answer<T> = Result<Response<T>, Status>;

fn no<T>() -> Answer<T> {
    Err(Status::unimplemented("only the heart beats here"))
}

#[tonic::async_trait]
impl WorkService for Heart {
    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Answer<HeartbeatResponse> {
        self.traces.lock().unwrap().push(current_trace());
        Ok(Response::new(HeartbeatResponse {}))
    }

    async fn lease_units(&self, _: Request<LeaseUnitsRequest>) -> Answer<LeaseUnitsResponse> {
        std::future::pending().await
    }

    async fn register_worker(
        &self,
        _: Request<RegisterWorkerRequest>,
    ) -> Answer<RegisterWorkerResponse> {
        no()
    }

    async fn renew_leases(&self, _: Request<RenewLeasesRequest>) -> Answer<RenewLeasesResponse> {
        no()
    }

    async fn commit_outcomes(
        &self,
        _: Request<Streaming<CommitOutcomesRequest>>,
    ) -> Answer<CommitOutcomesResponse> {
        no()
    }

    async fn finish_unit(&self, _: Request<FinishUnitRequest>) -> Answer<FinishUnitResponse> {
        no()
    }

    async fn release_unit(&self, _: Request<ReleaseUnitRequest>) -> Answer<ReleaseUnitResponse> {
        no()
    }
}

fn current_trace() -> String {
    tracing::Span::current()
        .context()
        .span()
        .span_context()
        .trace_id()
        .to_string()
}

pub(super) type Served = JoinHandle<Result<(), GrpcError>>;

pub(super) async fn over_tcp(config: GrpcConfig, shutdown: CancellationToken) -> (u16, Served) {
    let incoming = listen(&config).await.unwrap();
    let port = incoming.local_addr().unwrap().port();
    let routes = Routes::new(WorkServiceServer::new(Heart::default()));
    let served = async move { serve(&config, routes, incoming, shutdown).await };
    (port, tokio::spawn(served))
}

fn within_process(heart: Heart) -> Channel {
    let (channel, incoming) = in_process();
    let routes = Routes::new(WorkServiceServer::new(heart));
    tokio::spawn(async move {
        serve(
            &GrpcConfig::default(),
            routes,
            incoming,
            CancellationToken::new(),
        )
        .await
    });
    channel
}

pub(super) async fn beat(channel: Channel) -> Result<(), Status> {
    let mut client = WorkServiceClient::new(channel);
    client
        .heartbeat(HeartbeatRequest { worker_id: 1 })
        .await
        .map(|_| ())
}

async fn health(channel: Channel, service: &str) -> Result<i32, Code> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    answer
        .map(|answer| answer.into_inner().status)
        .map_err(|status| status.code())
}

async fn reflected(channel: Channel) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = tokio_stream::once(request);
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn health_and_reflection_know_the_services_that_are_there() {
    let (port, _) = over_tcp(GrpcConfig::default(), CancellationToken::new()).await;
    let tcp = connect(&GrpcClientConfig::to_port(port)).unwrap();
    for channel in [tcp, within_process(Heart::default())] {
        beat(channel.clone()).await.unwrap();
        assert_eq!(health(channel.clone(), "").await, Ok(1));
        assert_eq!(health(channel.clone(), SERVICE_NAME).await, Ok(1));
        let absent = health(channel.clone(), "stoker.ledger.v1.JobService").await;
        assert_eq!(absent, Err(Code::NotFound));
        let mut services = reflected(channel).await;
        services.sort();
        let reflection = "grpc.reflection.v1.ServerReflection";
        let health = "grpc.health.v1.Health";
        assert_eq!(services, [health, reflection, SERVICE_NAME]);
    }
}

#[tokio::test]
async fn a_trace_goes_on_in_the_server() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    // While there is but one subscriber, tests without one switch off for all the spans they come to first.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let heart = Heart::default();
    let channel = within_process(heart.clone());
    let span = tracing::info_span!("caller");
    let sent = span.in_scope(current_trace);
    beat(channel).instrument(span).await.unwrap();
    assert_eq!(*heart.traces.lock().unwrap(), [sent]);
}

#[tokio::test]
async fn calls_without_the_token_are_refused() {
    let config = GrpcConfig {
        token: Some("right".into()),
        ..GrpcConfig::default()
    };
    let (port, _) = over_tcp(config, CancellationToken::new()).await;
    let with = |token: Option<&str>| {
        let config = GrpcClientConfig {
            token: token.map(Into::into),
            ..GrpcClientConfig::to_port(port)
        };
        connect(&config).unwrap()
    };
    assert!(beat(with(Some("right"))).await.is_ok());
    for token in [None, Some("wrong"), Some("righ"), Some("r")] {
        let refused = beat(with(token)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token:?}");
        assert_eq!(
            health(with(token), "").await,
            Err(Code::Unauthenticated),
            "{token:?}"
        );
    }
}

#[tokio::test]
async fn tls_and_client_certificates_are_asked_for() {
    let authority = Authority::new();
    let config = GrpcConfig {
        tls: Some(authority.server("localhost", Some(authority.ca_file()))),
        ..GrpcConfig::default()
    };
    let (port, _) = over_tcp(config, CancellationToken::new()).await;
    let mut client = GrpcClientConfig {
        url: format!("https://localhost:{port}"),
        ca_file: Some(authority.ca_file()),
        ..GrpcClientConfig::default()
    };
    assert!(beat(connect(&client).unwrap()).await.is_err());
    let (cert_file, key_file) = authority.sign("worker");
    client.client_cert_file = Some(cert_file);
    client.client_key_file = Some(key_file);
    beat(connect(&client).unwrap()).await.unwrap();
    client.ca_file = Some(Authority::new().folder().join("gone.pem"));
    let error = connect(&client).unwrap_err();
    assert!(
        matches!(error, GrpcError::Tls(TlsError::Unreadable { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn bad_addresses_and_taken_ports_are_told() {
    for url in ["", "localhost:7701", "ftp://localhost"] {
        let config = GrpcClientConfig {
            url: url.to_owned(),
            ..GrpcClientConfig::default()
        };
        let error = connect(&config).unwrap_err();
        assert!(matches!(error, GrpcError::Address { .. }), "{url}: {error}");
    }
    let taken = listen(&GrpcConfig::default()).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = listen(&GrpcConfig::on_port(port))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("choose another port"), "{error}");
}

#[tokio::test]
async fn a_stop_ends_the_server_once_calls_are_answered() {
    let shutdown = CancellationToken::new();
    let (port, served) = over_tcp(GrpcConfig::default(), shutdown.clone()).await;
    let channel = connect(&GrpcClientConfig::to_port(port)).unwrap();
    beat(channel.clone()).await.unwrap();
    shutdown.cancel();
    // Less than the grace that open calls have.
    let quick = tokio::time::timeout(Duration::from_millis(4500), served);
    assert!(quick.await.unwrap().unwrap().is_ok());
    assert_eq!(beat(channel).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn calls_that_never_end_do_not_keep_a_stopped_server() {
    let shutdown = CancellationToken::new();
    let (channel, incoming) = in_process();
    let routes = Routes::new(WorkServiceServer::new(Heart::default()));
    let config = GrpcConfig::default();
    let running = serve(&config, routes, incoming, shutdown.clone());
    let mut client = WorkServiceClient::new(channel);
    let waiting =
        tokio::spawn(async move { client.lease_units(LeaseUnitsRequest::default()).await });
    let stop = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        shutdown.cancel();
    };
    let (ended, ()) = tokio::join!(running, stop);
    assert!(ended.is_ok(), "{ended:?}");
    assert!(!waiting.is_finished());
}
