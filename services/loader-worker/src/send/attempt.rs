//! One try of one request: when it may be sent, and what comes back.

use bytes::Bytes;
use stoker_shared::fhir::{FhirError, FhirRequest, FhirResponse, Method};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::pending::Pending;
use super::verdict::{self, EntryVerdict, Verdict};
use super::{Sender, Stop, Stops};
use crate::input::{Ask, Request};
use crate::outcome::{Refusal, Settled};

impl Sender {
    /// Sends once, as soon as it may; answers what it means and how long it took, in ms.
    pub(super) async fn attempt(
        &self,
        pending: &mut Pending,
        stops: &Stops,
        settled: &mut Settled,
    ) -> Result<(Verdict, u32), Stop> {
        let permit = self.leave_to_send(&pending.request, stops).await?;
        settled.retries += u64::from(pending.begin_try());
        settled.requests += 1;
        let sent = Instant::now();
        let result = tokio::select! {
            biased;
            result = self.send(&pending.request) => result,
            () = stops.abandon.cancelled() => return abandoned(&pending.request),
        };
        drop(permit);
        let elapsed = sent.elapsed();
        let status = result.as_ref().map_or(0, |r| r.status);
        self.stats.request(elapsed, status);
        let verdict = verdict::judge(&pending.request, result);
        if did_its_work(&verdict) {
            self.health.good();
        }
        let ms = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
        Ok((verdict, ms))
    }

    /// Waits for a free place on the wire, and until the server wants to hear from us.
    async fn leave_to_send(
        &self,
        request: &Request,
        stops: &Stops,
    ) -> Result<SemaphorePermit<'_>, Stop> {
        loop {
            self.sleep_until(self.health.held_until(), stops).await?;
            if self.health.is_doubtful() && !request.repeatable() {
                self.until_well(stops).await?;
            }
            let permit = tokio::select! {
                biased;
                () = stops.stop.cancelled() => return Err(Stop::Shutdown),
                permit = self.permits.acquire() => permit.map_err(|_| Stop::Shutdown)?,
            };
            // Things may have changed while others were ahead.
            let held = self.health.held_until() > Instant::now();
            let doubtful = self.health.is_doubtful() && !request.repeatable();
            if !held && !doubtful {
                return Ok(permit);
            }
        }
    }

    async fn send(&self, request: &Request) -> Result<FhirResponse, FhirError> {
        let path;
        let (method, path) = match request.single() {
            None => (Method::Post, ""),
            Some(input) => match &input.ask {
                Ask::Put { id } => {
                    path = format!("{}/{id}", input.resource_type);
                    (Method::Put, path.as_str())
                }
                _ => (Method::Post, &*input.resource_type),
            },
        };
        let request = FhirRequest {
            method,
            path,
            body: request.body(),
            prefer_minimal: true,
            if_none_exist: None,
        };
        self.client.send(request).await
    }

    /// Asks for `metadata` until it is answered: a `POST` that met no answer is in doubt, and so
    /// would be each that followed it.
    async fn until_well(&self, stops: &Stops) -> Result<(), Stop> {
        let _one_asks = self.asking.lock().await;
        let since = Instant::now();
        let mut backoff = self.patience.backoff();
        while self.health.is_doubtful() {
            let request = FhirRequest {
                method: Method::Get,
                path: "metadata",
                body: Bytes::new(),
                prefer_minimal: false,
                if_none_exist: None,
            };
            let last = match self.client.send(request).await {
                Ok(response) if response.status == 200 => {
                    self.health.trust();
                    return Ok(());
                }
                Ok(response) => format!("metadata answers {}", response.status),
                Err(e) => e.to_string(),
            };
            self.ensure_patience(since, &last)?;
            self.pause(&mut backoff, None, stops).await?;
        }
        Ok(())
    }
}

/// The server took or refused something, which it can only when it is well.
fn did_its_work(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Refused(_) | Verdict::OddTransaction(_) => true,
        Verdict::Answered(answers) => answers.iter().any(|answer| {
            matches!(
                answer,
                EntryVerdict::Created(_) | EntryVerdict::Updated | EntryVerdict::Refused(_)
            )
        }),
        Verdict::Again(_) | Verdict::InDoubt(_) | Verdict::Stop(_) => false,
    }
}

/// The time to wait for answers is over.
fn abandoned(request: &Request) -> Result<(Verdict, u32), Stop> {
    if request.repeatable() {
        return Err(Stop::Shutdown);
    }
    let text = "the load was stopped before the server answered";
    Ok((Verdict::InDoubt(Refusal::new(0, text, Bytes::new())), 0))
}
