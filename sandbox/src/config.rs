//! What a sandbox is told at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stoker_shared::clock::{SharedClock, SystemClock};
use stoker_shared::secret::Secret;

use crate::faults::FaultRule;

/// Bytes of a request body, at most, unless told otherwise.
pub const DEFAULT_MAX_BODY_BYTES: usize = 512 << 20;

/// Switches of a sandbox. The default is an open, faultless server on a free port of the loopback address.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct SandboxConfig {
    /// Address to listen at; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Serve HTTPS, with a certificate authority made at the start.
    pub tls: bool,
    /// Where to write the authority's certificate, as PEM.
    pub ca_file: Option<PathBuf>,
    /// What requests must carry.
    pub auth: Auth,
    /// Every answer comes so much later.
    pub latency: Duration,
    /// Every answer comes so much later for each resource sent or reindexed.
    pub latency_per_resource: Duration,
    /// A batch with an invalid entry is refused as a whole, as LinuxForHealth does.
    pub batch_refused_whole: bool,
    /// A reference to a resource that is not there is refused.
    pub referential_integrity: bool,
    /// Accept and count everything, check and store nothing: a sink for measuring.
    pub null: bool,
    /// So many resources that only `$reindex`, `$retrieve-index` and counts see: a byte each.
    pub synthetic: u32,
    /// Faults to begin with.
    pub faults: Vec<FaultRule>,
    /// Bytes of a request body, at most.
    pub max_body_bytes: usize,
    /// Tells the time of `lastUpdated`.
    pub clock: SharedClock,
    /// Makes the ids that the server assigns repeatable; from the system's random source if not given.
    pub seed: Option<u64>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            ca_file: None,
            auth: Auth::default(),
            latency: Duration::ZERO,
            latency_per_resource: Duration::ZERO,
            batch_refused_whole: false,
            referential_integrity: false,
            null: false,
            synthetic: 0,
            faults: Vec::new(),
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            clock: Arc::new(SystemClock),
            seed: None,
        }
    }
}

/// What requests must carry; either is enough where both are set, nothing is needed where none is.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    /// User and password of basic authentication.
    pub basic: Option<(String, Secret)>,
    /// A bearer token.
    pub bearer: Option<Secret>,
}
