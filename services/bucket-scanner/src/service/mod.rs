//! The ledger over gRPC.

use stoker_proto::common::v1::{FileType, Interaction, Source};
use stoker_shared::object_store::Stores;
use stoker_shared::retry::Retry;
use stoker_shared::store::StoreError;
use tonic::Status;

mod jobs;
mod target;
mod watch;
mod work;

pub(crate) use jobs::Jobs;
pub(crate) use work::Work;

use crate::ledger::{LedgerError, StartJob};

/// What a caller is told of a fault.
fn status(error: &LedgerError) -> Status {
    let text = error.to_string();
    match error {
        LedgerError::LeaseLost { .. } | LedgerError::NotNow(_) => Status::failed_precondition(text),
        LedgerError::NotFound { .. } => Status::not_found(text),
        LedgerError::BadCommit { .. } => Status::invalid_argument(text),
        LedgerError::Store(StoreError::DiskFull { .. }) => {
            tracing::error!(%error, "the ledger's disk is full");
            Status::resource_exhausted(text)
        }
        other if other.retry() != Retry::Never => {
            tracing::warn!(%error, "the ledger is away");
            Status::unavailable(text)
        }
        _ => {
            tracing::error!(%error, "the ledger failed");
            Status::internal(text)
        }
    }
}

/// Whether a load can be started here; what is wrong with it, for a person. Spells its URLs the
/// one way that the ledger knows them by.
pub(crate) fn check(start: &mut StartJob, reaches: &[String]) -> Result<(), String> {
    texts_can_be_kept(start)?;
    let source = &mut start.source;
    // A slash at the end of a prefix in a bucket makes it another prefix.
    if source.uri.starts_with("file://") && source.uri.len() > "file:///".len() {
        source.uri.truncate(source.uri.trim_end_matches('/').len());
    }
    Stores::default().open(source).map_err(|e| e.to_string())?;
    is_one_place(source)?;
    if !source.reach.is_empty() && !reaches.contains(&source.reach) {
        return Err(format!(
            "{}: lies on {:?}, which this scanner cannot read; start the load there, or name a \
             mount that both share",
            source.uri, source.reach
        ));
    }
    if start.interaction == Interaction::Unspecified {
        return Err("say how to send: auto, create or update".to_owned());
    }
    let types = &start.options.file_types;
    if types.iter().any(|of| {
        !matches!(
            FileType::try_from(*of),
            Ok(FileType::Json | FileType::Ndjson)
        )
    }) {
        return Err("say which types of files to load: JSON, NDJSON, or none for all".to_owned());
    }
    target::check(&start.source, &mut start.target.base_url)
}

/// PostgreSQL takes no U+0000, and its indexes no texts of more than about 2700 bytes in one row.
fn texts_can_be_kept(start: &StartJob) -> Result<(), String> {
    for (what, text, most) in [
        ("source's URI", &start.source.uri, 2000),
        ("source's reach", &start.source.reach, 250),
        ("target's base URL", &start.target.base_url, 2000),
        ("tenant", &start.target.tenant, 250),
    ] {
        if text.len() > most {
            return Err(format!("the {what} is longer than {most} bytes"));
        }
        if text.contains(char::is_control) {
            return Err(format!("the {what} holds a control character"));
        }
    }
    Ok(())
}

/// Two hosts, or two working folders, must not take one name for the same folder.
fn is_one_place(source: &Source) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{}: {why}", source.uri));
    let Some(path) = source.uri.strip_prefix("file://") else {
        return if source.reach.is_empty() {
            Ok(())
        } else {
            wrong("a bucket can be read from anywhere; leave its reach empty")
        };
    };
    if !path.starts_with('/') {
        wrong("is not an absolute path; a folder is file:///and/its/path")
    } else if source.reach.is_empty() {
        wrong("a folder needs the name of its host, or of the mount it lies on, as its reach")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stoker_proto::common::v1::Target;
    use stoker_proto::ledger::v1::JobOptions;

    use super::*;

    fn start(uri: &str, base_url: &str) -> StartJob {
        StartJob {
            source: Source {
                uri: uri.to_owned(),
                reach: "here".to_owned(),
            },
            target: Target {
                base_url: base_url.to_owned(),
                tenant: String::new(),
            },
            interaction: Interaction::Auto,
            reload: false,
            options: JobOptions::default(),
        }
    }

    #[test]
    fn slashes_at_the_end_make_no_other_job() {
        let mut load = start("file:///a/b//", "http://fhir/r4/");
        check(&mut load, &["here".to_owned()]).unwrap();
        assert_eq!(load.source.uri, "file:///a/b");
        assert_eq!(load.target.base_url, "http://fhir/r4");
        let mut root = start("file:///", "http://fhir");
        check(&mut root, &["here".to_owned()]).unwrap();
        assert_eq!(root.source.uri, "file:///");
    }

    #[test]
    fn what_cannot_be_loaded_is_refused() {
        for (uri, base_url, expected) in [
            ("ftp://x", "http://fhir", "not a source"),
            ("file:///a", "fhir", "base URL is not one"),
            ("file:///a", "ftp://fhir", "http:// or https://"),
            ("file:///a", "http://ann:pw@fhir/", "no user or password"),
            ("file:///a", "http://fhir?x=1", "end with its path"),
            ("file://a/b", "http://fhir", "not an absolute path"),
            ("file://", "http://fhir", "not an absolute path"),
            (
                "file:///a\0b",
                "http://fhir",
                "URI holds a control character",
            ),
            (
                "file:///a",
                "http://fhir/\n",
                "base URL holds a control character",
            ),
        ] {
            let problem = check(&mut start(uri, base_url), &["here".to_owned()]).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
            assert!(!problem.contains("pw"), "{problem}");
        }
        let problem = check(&mut start("file:///a", "http://fhir"), &[]).unwrap_err();
        assert!(problem.contains("cannot read"), "{problem}");
        let here = ["here".to_owned()];
        let long = format!("http://fhir/{}", "x".repeat(2000));
        let problem = check(&mut start("file:///a", &long), &here).unwrap_err();
        assert!(problem.contains("longer than 2000"), "{problem}");
        let mut load = start("file:///a", "http://fhir");
        load.target.tenant = "t".repeat(251);
        let problem = check(&mut load, &here).unwrap_err();
        assert!(problem.contains("tenant is longer"), "{problem}");
        let mut load = start("file:///a", "http://fhir");
        load.source.reach.clear();
        let problem = check(&mut load, &here).unwrap_err();
        assert!(problem.contains("as its reach"), "{problem}");
        let mut load = start("file:///a", "http://fhir");
        load.interaction = Interaction::Unspecified;
        assert!(check(&mut load, &["here".to_owned()]).is_err());
        for unknown in [0, 77] {
            let mut load = start("file:///a", "http://fhir");
            load.options.file_types = vec![FileType::Json.into(), unknown];
            let problem = check(&mut load, &here).unwrap_err();
            assert!(problem.contains("types of files"), "{problem}");
        }
    }
}
