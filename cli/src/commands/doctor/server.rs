//! A running bucket-scanner: reachable, lets us in, and serves.

use stoker_proto::ledger::v1::ListSourcesRequest;
use stoker_proto::ledger::v1::job_service_client::JobServiceClient;
use stoker_shared::grpc::{self, Channel, GrpcClientConfig};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::Check;
use super::finding::{Finding, in_time};

pub(super) fn checks(server: Option<GrpcClientConfig>) -> Vec<Check> {
    let Some(config) = server else {
        let to_do = "--server URL looks at a running one";
        let finding = Finding::skip("bucket-scanner", "none is named", to_do);
        return vec![Check::known(finding)];
    };
    // Several do the same, with commas between.
    let urls = config.url.split(',').map(|url| url.trim().to_owned());
    let one = |url: String| GrpcClientConfig {
        url,
        ..config.clone()
    };
    urls.map(|url| Check::new(&url, check(one(url.clone()))))
        .collect()
}

async fn check(config: GrpcClientConfig) -> Vec<Finding> {
    let what = config.url.as_str();
    let channel = match grpc::connect(&config) {
        Ok(channel) => channel,
        Err(error) => return vec![Finding::error(what, error)],
    };
    let finding = match in_time(what, ask(channel)).await {
        Err(late) => return late,
        Ok(Err(status)) => refused(what, &status),
        Ok(Ok(Answer::Serves { sources })) => {
            let detail = format!("bucket-scanner, healthy, {sources} sources known");
            Finding::ok(what, detail)
        }
        Ok(Ok(Answer::DoesNotServe)) => {
            let to_do = "wait until it has started or stopped, and see its log";
            Finding::fail(what, "it says it does not serve", to_do)
        }
    };
    vec![finding]
}

enum Answer {
    Serves { sources: usize },
    DoesNotServe,
}

/// Health tells of the process; a call of its own tells that it is a scanner, and of its ledger.
async fn ask(channel: Channel) -> Result<Answer, Status> {
    let request = HealthCheckRequest {
        service: "stoker.ledger.v1.JobService".to_owned(),
    };
    let health = HealthClient::new(channel.clone()).check(request).await?;
    if health.into_inner().status() != ServingStatus::Serving {
        return Ok(Answer::DoesNotServe);
    }
    let mut jobs = JobServiceClient::new(channel);
    let sources = jobs.list_sources(ListSourcesRequest {}).await?;
    let sources = sources.into_inner().sources.len();
    Ok(Answer::Serves { sources })
}

fn refused(what: &str, status: &Status) -> Finding {
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    let message = status.message();
    match (causes.last(), status.code()) {
        (Some(cause), _) => Finding::fail(
            what,
            format!("cannot be reached ({cause})"),
            "check the address and that it runs",
        ),
        (None, Code::Unauthenticated) => Finding::fail(
            what,
            format!("does not let us in ({message})"),
            "give its token with --server-token-file",
        ),
        (None, Code::NotFound | Code::Unimplemented | Code::Unknown) => Finding::fail(
            what,
            "what answers there is no bucket-scanner",
            "give the address of its gRPC port",
        ),
        (None, code) => Finding::fail(what, format!("{code}: {message}"), "see its log"),
    }
}
