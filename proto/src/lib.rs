#![doc = include_str!("../README.md")]
#![expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "nearly all of this crate is generated code"
)]

/// `stoker.common.v1`: what the other contracts share.
pub mod common {
    /// Version 1.
    pub mod v1 {
        include!("gen/stoker.common.v1.rs");
    }
}

/// `stoker.ledger.v1`: units of work under leases, and jobs.
pub mod ledger {
    /// Version 1.
    pub mod v1 {
        include!("gen/stoker.ledger.v1.rs");
    }
}

/// `stoker.events.v1`: what services announce.
pub mod events {
    /// Version 1.
    pub mod v1 {
        include!("gen/stoker.events.v1.rs");
    }
}

/// `stoker.index.v1`: how a remote-indexer is doing.
pub mod index {
    /// Version 1.
    pub mod v1 {
        include!("gen/stoker.index.v1.rs");
    }
}

/// `stoker.reindex.v1`: reindexing a FHIR server, and steering it.
pub mod reindex {
    /// Version 1.
    pub mod v1 {
        include!("gen/stoker.reindex.v1.rs");
    }
}

/// `stoker.backup.v1`: backups, and what is done to them.
pub mod backup {
    /// Version 1.
    pub mod v1 {
        include!("gen/stoker.backup.v1.rs");
    }
}

/// All contracts as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");
