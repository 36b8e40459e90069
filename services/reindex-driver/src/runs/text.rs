//! How columns spell what runs are about.

use serde_json::json;
use stoker_proto::reindex::v1::{RunSpec, RunState};
use stoker_shared::store::StoreError;

pub(super) const STATES: [(RunState, &str); 5] = [
    (RunState::Running, "running"),
    (RunState::Paused, "paused"),
    (RunState::Done, "done"),
    (RunState::Stopped, "stopped"),
    (RunState::Cancelled, "cancelled"),
];

/// The same text for specs that ask for the same.
pub(super) fn asked_for(spec: &RunSpec) -> String {
    let target = spec.target.clone().unwrap_or_default();
    let sorted = |texts: &[String]| {
        let mut texts = texts.to_vec();
        texts.sort();
        texts.dedup();
        texts
    };
    json!({
        "base_url": target.base_url,
        "tenant": target.tenant,
        "method": spec.method().as_str_name(),
        "resource_types": sorted(&spec.resource_types),
        "urls": sorted(&spec.urls),
        "force": spec.force,
    })
    .to_string()
}

pub(super) fn spans(open: &[(i64, i64)]) -> String {
    json!(open).to_string()
}

pub(super) fn read_spans(text: &str) -> Result<Vec<(i64, i64)>, StoreError> {
    let damaged = |e| StoreError::Damaged(format!("{text:?} are no spans ({e})"));
    serde_json::from_str(text).map_err(damaged)
}

pub(super) fn read_ids(text: &str) -> Result<Vec<String>, StoreError> {
    let damaged = |e| StoreError::Damaged(format!("{text:?} are no ids ({e})"));
    serde_json::from_str(text).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use stoker_proto::common::v1::Target;
    use stoker_proto::reindex::v1::Method;

    use super::*;

    fn spec(types: &[&str]) -> RunSpec {
        RunSpec {
            resource_types: types.iter().map(ToString::to_string).collect(),
            method: Method::ClientDriven.into(),
            ..RunSpec::default()
        }
    }

    #[test]
    fn the_order_of_types_makes_no_other_run() {
        let one = spec(&["Patient", "Account"]);
        assert_eq!(
            asked_for(&one),
            asked_for(&spec(&["Account", "Patient", "Account"]))
        );
        let of_tenant = RunSpec {
            target: Some(Target {
                tenant: "a".to_owned(),
                ..Target::default()
            }),
            ..one.clone()
        };
        let forced = RunSpec {
            force: true,
            ..one.clone()
        };
        let fewer = spec(&["Patient"]);
        let tuned = RunSpec {
            concurrency: 7,
            tstamp: "2020-01-01".to_owned(),
            ..one.clone()
        };
        for other in [of_tenant, forced, fewer] {
            assert_ne!(asked_for(&one), asked_for(&other));
        }
        assert_eq!(asked_for(&one), asked_for(&tuned));
    }

    #[test]
    fn spans_are_read_back() {
        for open in [vec![], vec![(-3, i64::MAX), (7, 7)]] {
            assert_eq!(read_spans(&spans(&open)).unwrap(), open);
        }
        assert!(read_spans("[[1]]").is_err());
    }
}
