//! One try of one request: when it may be sent, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use stoker_shared::fhir::{FhirError, FhirRequest, FhirResponse, Method};
use stoker_shared::pace::{Answer, Permit};
use tokio::sync::MutexGuard;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::pending::Pending;
use super::verdict::{self, EntryVerdict, Verdict};
use super::{Sender, Stop, Stops};
use crate::input::{Ask, Request};
use crate::leases::LeaseEnd;
use crate::outcome::{Refusal, Settled};

impl Sender {
    /// Sends once, as soon as it may; answers what it means and how long it took, in ms.
    pub(super) async fn attempt(
        &self,
        pending: &mut Pending,
        stops: &Stops,
        settled: &mut Settled,
    ) -> Result<(Verdict, u32), Stop> {
        let _until_answered = self.under_way.clone();
        let leave = self.leave_to_send(&pending.request, stops).await?;
        if stops.lease.as_ref().is_some_and(LeaseEnd::has_passed) {
            return Err(Stop::Shutdown);
        }
        settled.retries += u64::from(pending.begin_try());
        settled.requests += 1;
        let entries = pending.request.inputs.len();
        let span = request_span(entries);
        let sent = Instant::now();
        let result = tokio::select! {
            biased;
            result = self.send(&pending.request).instrument(span) => result,
            () = stops.abandon.cancelled() => return abandoned(&pending.request),
        };
        let elapsed = sent.elapsed();
        let status = result.as_ref().map_or(0, |r| r.status);
        self.stats.request(elapsed, status);
        let verdict = verdict::judge(&pending.request, result);
        if did_its_work(&verdict) {
            self.health.good();
        } else if leaves_doubt(&verdict) {
            self.health.doubt(sent);
        }
        match pace(&verdict, self.patience.give_up_after) {
            Some(answer) => leave.place.done(answer),
            None => drop(leave.place),
        }
        drop(leave.alone);
        let ms = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
        Ok((verdict, ms))
    }

    /// Waits for a free place on the wire, and until the server wants to hear from us.
    async fn leave_to_send(&self, request: &Request, stops: &Stops) -> Result<Leave<'_>, Stop> {
        let items = request.inputs.len();
        let places = match request.bundle {
            Some(_) => bundle_places(items, self.bundle_cost),
            None => 1,
        };
        let in_doubt = || !request.repeatable() && self.health.doubted().is_some();
        loop {
            let alone = if in_doubt() {
                self.sleep_until(self.pacer.held_until(), stops).await?;
                self.until_well(stops).await?
            } else {
                None
            };
            let place = until_stopped(stops, self.pacer.acquire(items, places)).await?;
            // Doubt may have arisen while others were ahead.
            if alone.is_some() || !in_doubt() {
                return Ok(Leave { place, alone });
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
        let result = self.client.send(request).await;
        if let Ok(answer) = &result {
            Span::current().record("http.status", i64::from(answer.status));
        }
        result
    }

    /// Asks for `metadata` until it is answered: a request that cannot be repeated met no clear
    /// answer, and so may each that follows it. Who holds the guard sends one and nobody else does,
    /// until the server has done its work again (then there is none) or has been given up.
    async fn until_well(&self, stops: &Stops) -> Result<Option<MutexGuard<'_, ()>>, Stop> {
        let alone = until_stopped(stops, self.asking.lock()).await?;
        let mut backoff = self.patience.backoff();
        let mut last = "it leaves creates in doubt".to_owned();
        for _ in 1..self.health.doubted().map_or(0, |doubt| doubt.rounds) {
            backoff.lengthen();
        }
        while let Some(doubt) = self.health.doubted() {
            self.ensure_patience(doubt.since, &last)?;
            self.pause(&mut backoff, None, stops).await?;
            let asked = self.client.send(get("metadata"));
            last = match until_stopped(stops, asked).await? {
                Ok(response) if response.status == 200 => return Ok(Some(alone)),
                Ok(response) => format!("metadata answers {}", response.status),
                Err(e) => e.to_string(),
            };
        }
        Ok(None)
    }

    /// Whether the server answers a read, for which it needs its store: also "there is no such
    /// resource" is an answer.
    pub(super) async fn answers_reads(&self, request: &Request, stops: &Stops) -> bool {
        let types = request.inputs.iter().map(|input| &*input.resource_type);
        let resource_type = types.into_iter().find(|t| !t.is_empty());
        let path = format!("{}/{NO_SUCH_ID}", resource_type.unwrap_or("Patient"));
        let answer = until_stopped(stops, self.client.send(get(&path))).await;
        answer.is_ok_and(|a| a.is_ok_and(|a| matches!(a.status, 200 | 404 | 410)))
    }
}

/// An id that nobody gives to a resource.
const NO_SUCH_ID: &str = "stoker-asks-whether-reads-are-answered";

/// Leave to send one request.
struct Leave<'s> {
    /// Its places on the wire.
    place: Permit,
    /// See [`Sender::until_well`].
    alone: Option<MutexGuard<'s, ()>>,
}

/// Names counts only: paths hold ids.
fn request_span(entries: usize) -> Span {
    // Unsigned numbers are told to collectors as texts.
    let entries = i64::try_from(entries).unwrap_or(i64::MAX);
    tracing::info_span!(
        "fhir_request",
        otel.kind = "client",
        entries,
        http.status = tracing::field::Empty,
    )
}

fn get(path: &str) -> FhirRequest<'_> {
    FhirRequest {
        method: Method::Get,
        path,
        body: Bytes::new(),
        prefer_minimal: false,
        if_none_exist: None,
    }
}

/// Places on the wire that a Bundle of the user's takes by its entries; the pacer has it take one at least, and not
/// more than there are.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded down and saturated, as wanted"
)]
fn bundle_places(entries: usize, for_each: f64) -> usize {
    (entries as f64 * for_each) as usize
}

pub(super) async fn until_stopped<T>(
    stops: &Stops,
    wait: impl Future<Output = T>,
) -> Result<T, Stop> {
    let done = stops.stop.run_until_cancelled(wait).await;
    done.ok_or(Stop::Shutdown)
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

/// What it tells of the server's pace, if anything. Nobody waits longer than `at_most`: then it is tried once more,
/// before the server is given up.
fn pace(verdict: &Verdict, at_most: Duration) -> Option<Answer> {
    let again = |answer: &EntryVerdict| match answer {
        EntryVerdict::Again { throttled, .. } => Some(*throttled),
        _ => None,
    };
    Some(match verdict {
        Verdict::Stop(_) => return None,
        Verdict::Again(again) if again.throttled => Answer::Throttled {
            retry_after: again.pause.map(|pause| pause.min(at_most)),
        },
        Verdict::Again(_) | Verdict::InDoubt(_) => Answer::Failed,
        Verdict::Answered(answers) if answers.iter().any(|a| again(a) == Some(true)) => {
            Answer::Throttled { retry_after: None }
        }
        Verdict::Answered(answers) if answers.iter().all(|a| again(a).is_some()) => Answer::Failed,
        Verdict::Answered(_) | Verdict::Refused(_) | Verdict::OddTransaction(_) => Answer::Done,
    })
}

/// The server may have acted or not, and was not to be asked again.
fn leaves_doubt(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::InDoubt(_) => true,
        Verdict::Answered(answers) => answers
            .iter()
            .any(|answer| matches!(answer, EntryVerdict::InDoubt(_))),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_takes_places_by_its_entries() {
        for (for_each, entries, expected) in [
            (0.0, 500, 0),
            (1.0, 7, 7),
            (0.5, 7, 3),
            (0.1, 7, 0),
            (f64::MAX, 9, usize::MAX),
        ] {
            let places = bundle_places(entries, for_each);
            assert_eq!(places, expected, "{for_each} × {entries}");
        }
    }
}
