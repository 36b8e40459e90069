//! What the platform asks a service over HTTP: `/livez`, `/readyz`, `/metrics`.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Whether a service can do its work now. Clones share the state, which begins as "starting".
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Condition>>);

#[derive(Debug, Clone)]
enum Condition {
    NotReady(String),
    Ready,
    Stopping,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Condition::NotReady(
            "starting".to_owned(),
        ))))
    }
}

impl Readiness {
    /// The service can work. Has no effect once it is stopping.
    pub fn set_ready(&self) {
        self.set(Condition::Ready);
    }

    /// The service cannot work for the time being. Has no effect once it is stopping.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.set(Condition::NotReady(reason.into()));
    }

    /// The service takes no more work, for good.
    pub fn set_stopping(&self) {
        self.set(Condition::Stopping);
    }

    /// Why the service is not ready; none when it is.
    pub fn reason(&self) -> Option<String> {
        match &*lock(&self.0) {
            Condition::Ready => None,
            Condition::NotReady(reason) => Some(reason.clone()),
            Condition::Stopping => Some("stopping".to_owned()),
        }
    }

    fn set(&self, new: Condition) {
        let mut state = lock(&self.0);
        if !matches!(*state, Condition::Stopping) {
            *state = new;
        }
    }
}

/// The metrics of a process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Adds a metric; keep a clone of it to change. `name` is the whole name, to which counters add
    /// `_total`; `help` is a sentence without a full stop.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        lock(&self.0).register(name, help, metric);
    }

    /// All of them as OpenMetrics text.
    pub fn to_text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &lock(&self.0))?;
        Ok(text)
    }
}

/// The three pages.
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(show_metrics).with_state(metrics))
}

/// Serves the three pages until `shutdown`; open requests are cut off then.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    tokio::select! {
        served = axum::serve(listener, router(readiness, metrics)).into_future() => served,
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, String) {
    match readiness.reason() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn show_metrics(State(metrics): State<Metrics>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = metrics
        .to_text()
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR);
    text.map(|text| ([(CONTENT_TYPE, kind)], text))
}

/// A thread that panicked holding the lock left a whole value: each change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_is_told_with_its_reason() {
        let readiness = Readiness::default();
        let router = router(readiness.clone(), Metrics::default());
        assert_eq!(ask(&router, "/livez").await.0, 200);
        assert_eq!(
            ask(&router, "/readyz").await,
            (503, "starting\n".to_owned())
        );
        readiness.set_ready();
        assert_eq!(ask(&router, "/readyz").await, (200, "ready\n".to_owned()));
        readiness.set_not_ready("the ledger is unreachable");
        let told = "the ledger is unreachable\n".to_owned();
        assert_eq!(ask(&router, "/readyz").await, (503, told));
        readiness.set_stopping();
        readiness.set_ready();
        assert_eq!(
            ask(&router, "/readyz").await,
            (503, "stopping\n".to_owned())
        );
        assert_eq!(ask(&router, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn registered_metrics_are_shown() {
        let metrics = Metrics::default();
        let counter: Counter = Counter::default();
        metrics.register("stoker_test_objects", "Objects seen", counter.clone());
        counter.inc_by(3);
        let (status, text) = ask(&router(Readiness::default(), metrics), "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("stoker_test_objects_total 3"), "{text}");
    }
}
