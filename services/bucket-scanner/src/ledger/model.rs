use bytes::Bytes;
use chrono::{DateTime, Utc};
use stoker_proto::common::v1::{Compression, FileType, Interaction, Source, Target};
use stoker_proto::ledger::v1::{
    CommitHeader, EntryOutcome, JobOptions, JobState, LoadError, QuarantinePart, Unit,
};

/// What a person asks for when a load starts; see `JobService.StartJob`.
#[derive(Debug, Clone, PartialEq)]
pub struct StartJob {
    /// What to load.
    pub source: Source,
    /// Where to.
    pub target: Target,
    /// How to send.
    pub interaction: Interaction,
    /// Also what is loaded and unchanged.
    pub reload: bool,
    /// What else holds for the job from now on.
    pub options: JobOptions,
}

/// What keeping a configured load going has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: it is not time, or nothing is to be done unless a person asks.
    AsItWas,
    /// The running job waits for another listing.
    Listing,
    /// A run of this job began, which waits for a listing.
    Run(i64),
}

/// Leave to list a source and register what is there, or to plan what is known of it, until it expires.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The source in the ledger.
    pub source_id: i64,
    /// The source to list.
    pub source: Source,
    /// It is for jobs that load what is known of the source: nothing is to be listed.
    pub known_only: bool,
    /// Proof of the leave.
    pub token: String,
}

/// An object that a listing shows and a name that says it can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundObject {
    /// Bucket; `:local` for files.
    pub bucket_name: String,
    /// Full key in the bucket.
    pub key: String,
    /// Stored size in bytes. An object of size 0 is registered, never planned.
    pub size: u64,
    /// Entity tag; empty for files.
    pub etag: String,
    /// Last change.
    pub last_modified: DateTime<Utc>,
    /// JSON or NDJSON.
    pub file_type: FileType,
    /// How its bytes are compressed.
    pub compression: Compression,
    /// It is known to be of several zstd frames, at each of which reading can begin.
    pub several_frames: bool,
}

/// A thing that a listing shows and nobody will load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Its name.
    pub name: String,
    /// Why, for a person.
    pub reason: String,
    /// It may hold something to load, and counts as a parked object; otherwise this is a warning.
    pub unreadable: bool,
}

/// A part of a listing.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// At most [`Page::MAX_OBJECTS`].
    pub objects: Vec<FoundObject>,
    /// Names that say they hold no FHIR JSON.
    pub ignored: u64,
    /// Empty files; what cannot be listed or kept.
    pub issues: Vec<Issue>,
}

impl Page {
    /// Objects that one page may hold: what one transaction registers.
    pub const MAX_OBJECTS: usize = 4000;
}

/// What registering a page changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registered {
    /// Objects seen for the first time.
    pub new: u64,
    /// Objects that have changed since they were last seen.
    pub changed: u64,
    /// Loads planned, over all jobs of the source.
    pub planned: u64,
    /// The objects that are new or have changed.
    pub news: Vec<ObjectNews>,
}

/// An object that is new (version 1) or has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectNews {
    /// Bucket; `:local` for files.
    pub bucket_name: String,
    /// Full key.
    pub key: String,
    /// Stored size in bytes.
    pub size: u64,
    /// Its version now.
    pub version: u32,
}

/// A job that a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedJob {
    /// The job.
    pub job_id: i64,
    /// Done or failed.
    pub state: JobState,
}

/// Units that a worker has leased.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Leased {
    /// None when there is no work.
    pub units: Vec<Unit>,
    /// What was found to be over.
    pub ended: Ended,
}

/// What a call has ended besides what it was about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Jobs.
    pub jobs: Vec<EndedJob>,
    /// Jobs of which a wave is over, so that units of the next can be leased.
    pub waves_of: Vec<i64>,
}

/// What ended with a unit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finished {
    /// The load, when this was its last unit.
    pub load: Option<FinishedLoad>,
    /// The job, when it waited for nothing else.
    pub ended_job: Option<EndedJob>,
    /// The job, when a wave of it is over and units of the next can be leased.
    pub ended_wave_of: Option<i64>,
}

/// One version of an object, loaded to its end by one job.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedLoad {
    /// The job.
    pub job_id: i64,
    /// Where the object lies.
    pub source: Source,
    /// Bucket; `:local` for files.
    pub bucket_name: String,
    /// Full key.
    pub key: String,
    /// The object's version.
    pub version: u32,
    /// Entries loaded.
    pub loaded: u64,
    /// Entries refused or in doubt.
    pub rejected: u64,
}

/// The outcomes to make durable in one transaction; see `WorkService.CommitOutcomes`.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// What it covers.
    pub header: CommitHeader,
    /// Entries that need a record of their own.
    pub outcomes: Vec<EntryOutcome>,
    /// Bytes of rejected inputs, each with the index of its outcome, in order.
    pub quarantine: Vec<(usize, Bytes)>,
}

/// What a retry took up again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retried {
    /// Rejected and doubtful inputs.
    pub inputs: u64,
    /// Units opened again.
    pub units: u64,
}

/// Units by state, over all jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnitCounts {
    /// Waiting for a worker, of jobs that are not over.
    pub open: u64,
    /// Of these, the ones that a worker would be given now.
    pub claimable: u64,
    /// With a worker.
    pub leased: u64,
    /// Set aside.
    pub parked: u64,
}

/// Where a list of errors goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCursor {
    /// After an input, or the start: load, unit, offset, error.
    Inputs(i64, i64, i64, i64),
    /// After the thing of this id that a scan saw and did not plan.
    Issues(i64),
}

impl ErrorCursor {
    /// Before the first.
    pub const START: Self = Self::Inputs(0, 0, 0, 0);
}

/// Some errors of a job, in order.
#[derive(Debug, Clone)]
pub struct ErrorPage {
    /// The errors.
    pub errors: Vec<LoadError>,
    /// Where to go on; none at the end.
    pub next: Option<ErrorCursor>,
}

/// Where quarantined bytes go on: load, unit, offset, error, part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineCursor(
    pub(super) i64,
    pub(super) i64,
    pub(super) i64,
    pub(super) i64,
    pub(super) i64,
);

impl QuarantineCursor {
    /// Before the first.
    pub const START: Self = Self(0, 0, 0, 0, -1);
}

/// Some quarantined bytes of a job, in order.
#[derive(Debug, Clone)]
pub struct QuarantinePage {
    /// The bytes.
    pub parts: Vec<QuarantinePart>,
    /// Where to go on; none at the end.
    pub next: Option<QuarantineCursor>,
}

/// Whether nothing more happens to a job in this state unless a person acts.
pub fn is_over(state: JobState) -> bool {
    matches!(
        state,
        JobState::Done | JobState::Cancelled | JobState::Failed
    )
}
