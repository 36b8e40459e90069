//! The FHIR server a command works on.

use std::time::Duration;

use stoker_shared::fhir::{CAPABILITIES_WAIT, Capabilities, CapabilityError, FhirClient};
use tokio::time::timeout;

use crate::output::Output;

/// After so long a person is told what is waited for.
const SILENT: Duration = Duration::from_secs(2);

/// Asks the server at `base_url` what it can do, which tells whether it is one.
pub(crate) async fn capabilities(
    client: &FhirClient,
    base_url: &str,
    output: &Output,
) -> Result<Capabilities, CapabilityError> {
    let asking = client.capabilities(CAPABILITIES_WAIT);
    tokio::pin!(asking);
    if let Ok(answer) = timeout(SILENT, &mut asking).await {
        return answer;
    }
    output.say(&format!("waiting for {base_url} to say what it can do"));
    asking.await
}
