//! A FHIR server that refuses some inputs without saying why.

use stoker_sandbox::{Fault, FaultRule, Sandbox, SandboxConfig};

/// The server refuses whatever holds this word, and does not say where it is.
pub(crate) const POISON: &str = "poison";

pub(crate) fn refuses_poison() -> FaultRule {
    FaultRule {
        body_contains: Some(POISON.to_owned()),
        ..FaultRule::new(Fault::Status {
            code: 400,
            retry_after: None,
            body: None,
        })
    }
}

pub(crate) async fn sandbox_with(faults: Vec<FaultRule>) -> Sandbox {
    let config = SandboxConfig {
        faults,
        ..SandboxConfig::default()
    };
    Sandbox::start(config).await.unwrap()
}
