//! `/sandbox/…`: counts, faults and a fresh start, for tests in other processes.

use axum::http::{Method, StatusCode};

use crate::answer::Answer;
use crate::faults::FaultRule;
use crate::outcome::Refusal;
use crate::state::State;

/// Serves a control request; `path` is below `/sandbox`.
pub(crate) fn serve(state: &State, method: &Method, path: &str, body: &[u8]) -> Answer {
    let done = match (method, path) {
        (&Method::GET, "/stats") => as_json(&state.stats()),
        (&Method::GET, "/reindex") => as_json(&state.reindex_stats()),
        (&Method::GET, "/faults") => as_json(&state.faults.rules()),
        (&Method::POST, "/faults") => set_faults(state, body),
        (&Method::POST, "/reset") => {
            state.reset();
            Ok(Answer::new(StatusCode::NO_CONTENT, String::new()))
        }
        _ => Err(Refusal::not_supported(
            StatusCode::NOT_FOUND,
            "There are GET /sandbox/stats, GET /sandbox/reindex, GET and POST /sandbox/faults, POST /sandbox/reset.",
        )),
    };
    done.unwrap_or_else(|refusal| Answer::refused(&refusal))
}

fn set_faults(state: &State, body: &[u8]) -> Result<Answer, Refusal> {
    let rules: Vec<FaultRule> =
        serde_json::from_slice(body).map_err(|e| Refusal::invalid(format!("fault rules: {e}")))?;
    let set = state.faults.set(rules);
    set.map_err(|e| Refusal::invalid(e.to_string()))?;
    Ok(Answer::new(StatusCode::NO_CONTENT, String::new()))
}

fn as_json(value: &impl serde::Serialize) -> Result<Answer, Refusal> {
    let text = serde_json::to_string(value).map_err(|e| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "exception",
            e.to_string(),
        )
    })?;
    Ok(Answer::new(StatusCode::OK, text))
}
