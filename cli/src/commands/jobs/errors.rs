//! What went wrong with a job, with the inputs when asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat};
use prost_types::Timestamp;
use serde_json::{Value, json};
use stoker_proto::common::v1::Interaction;
use stoker_proto::ledger::v1::{
    GetJobRequest, ListErrorsRequest, LoadError, ReadQuarantineRequest,
};

use super::{Client, sentence};
use crate::output::Output;
use crate::report::{InFile, kind_name};

/// Writes errors as they come, so that a million of them need no memory.
pub(super) async fn errors(
    mut client: Client,
    job_id: i64,
    inputs: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let request = ListErrorsRequest {
        job_id,
        this_run: false,
    };
    let job = client.get_job(GetJobRequest { job_id }).await;
    let job = job.map_err(sentence)?.into_inner().job.unwrap_or_default();
    let interaction = match job.interaction() {
        Interaction::Create => "create",
        Interaction::Update => "update",
        Interaction::Auto | Interaction::Unspecified => "auto",
    };
    let mut stream = client
        .list_errors(request)
        .await
        .map_err(sentence)?
        .into_inner();
    while let Some(error) = stream.message().await.map_err(sentence)? {
        let input = if inputs && error.quarantined_bytes > 0 {
            Some(input(&mut client, job_id, error.error_id).await?)
        } else {
            None
        };
        let line = if output.is_json() {
            let mut value = error_to_json(&error, input.as_deref());
            value["job_id"] = json!(job_id);
            value["interaction"] = json!(interaction);
            value.to_string()
        } else {
            error_text(&error, input.as_deref())
        };
        if !Output::line(&line)? {
            break;
        }
    }
    Ok(())
}

async fn input(client: &mut Client, job_id: i64, error_id: i64) -> anyhow::Result<Vec<u8>> {
    let request = ReadQuarantineRequest { job_id, error_id };
    let mut parts = client
        .read_quarantine(request)
        .await
        .map_err(sentence)?
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.map_err(sentence)? {
        bytes.extend_from_slice(&part.data);
    }
    Ok(bytes)
}

fn error_text(error: &LoadError, input: Option<&[u8]>) -> String {
    let entry = error.position.and_then(|p| p.entry);
    let entry = entry.map(|e| format!(" entry {e}")).unwrap_or_default();
    let status = match error.http_status {
        0 => String::new(),
        status => format!(" ({status})"),
    };
    let input = input
        .map(|i| format!("\n    {}", String::from_utf8_lossy(i)))
        .unwrap_or_default();
    format!(
        "{}: {}{}{entry}{status}: {}{input}",
        kind_name(error.kind()),
        error.key,
        InFile::of(error),
        error.error_text
    )
}

/// So that it can be read back whole: `stoker retry` names the error to the ledger by it.
fn written(time: &Timestamp) -> Option<String> {
    let nanos = u32::try_from(time.nanos).ok()?;
    let time = DateTime::from_timestamp(time.seconds, nanos)?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn error_to_json(error: &LoadError, input: Option<&[u8]>) -> Value {
    let place = InFile::of(error);
    let mut value = json!({
        "error_id": error.error_id, "kind": kind_name(error.kind()),
        "file": error.key, "version": error.version,
        "resource_type": error.resource_type, "http_status": error.http_status,
        "reason": error.error_text,
        "time": error.time.map(|t| written(&t)),
        "operation_outcome": serde_json::from_slice::<Value>(&error.operation_outcome).ok(),
    });
    if let Some(position) = error.position {
        value["line"] = json!(place.line);
        value["entry"] = json!(position.entry);
        value["offset"] = json!(place.offset);
        value["length"] = json!(place.length);
    }
    if let Some(line) = place.line_in_part {
        value["line_in_part"] = json!(line);
    }
    // A text stays readable; bytes that are no text are kept as they are too.
    match input.map(std::str::from_utf8) {
        Some(Ok(text)) => value["input"] = json!(text),
        Some(Err(_)) => value["input_base64"] = json!(STANDARD.encode(input.unwrap_or_default())),
        None => {}
    }
    value
}
