//! A service from start to stop, seen over HTTP as its platform sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stoker_shared::config::{Faults, Settings};
use stoker_shared::fhir::FhirConfig;
use stoker_shared::service::{Context, ServiceConfig, ServiceError, ServiceSettings, run};
use tokio::sync::Notify;

use super::server::{client, get, listen};

#[derive(Default, Serialize, Deserialize)]
struct Config {
    service: ServiceSettings,
}

impl Settings for Config {
    fn validate(&self, _: &mut Faults) {}
}

impl ServiceConfig for Config {
    fn service(&self) -> &ServiceSettings {
        &self.service
    }
}

fn config(http_listen: SocketAddr) -> Config {
    let service = ServiceSettings {
        http_listen,
        ..ServiceSettings::default()
    };
    Config { service }
}

async fn page(address: SocketAddr, path: &str) -> u16 {
    let client = client(&format!("http://{address}"), &FhirConfig::default());
    client.send(get(path)).await.unwrap().status
}

#[tokio::test]
async fn the_health_pages_last_until_the_drain_is_over() {
    let (listener, address) = listen().await;
    drop(listener);
    let context = Context::default();
    let (draining, drained) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = {
        let (draining, drained) = (draining.clone(), drained.clone());
        |_: Config, context: Context| async move {
            context.readiness.set_ready();
            draining.notify_one();
            context.shutdown.cancelled().await;
            draining.notify_one();
            drained.notified().await;
            Ok::<(), std::fmt::Error>(())
        }
    };
    let running = tokio::spawn(run(config(address), context.clone(), service));
    draining.notified().await;
    assert_eq!(
        (page(address, "livez").await, page(address, "readyz").await),
        (200, 200)
    );
    context.shutdown.cancel();
    draining.notified().await;
    assert_eq!(
        (page(address, "livez").await, page(address, "readyz").await),
        (200, 503)
    );
    drained.notify_one();
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await;
    assert!(ended.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let (_listener, address) = listen().await;
    let service = |_: Config, _: Context| async { Ok::<(), std::fmt::Error>(()) };
    let error = run(config(address), Context::default(), service)
        .await
        .unwrap_err();
    assert!(matches!(error, ServiceError::Listen { .. }), "{error}");
    assert!(error.to_string().contains("choose another port"), "{error}");
}
