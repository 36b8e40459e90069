//! How columns spell what the catalog is about.

use serde::Serialize;
use serde::de::DeserializeOwned;
use stoker_shared::store::StoreError;

use super::{RunState, Task};

pub(super) const TASKS: [(Task, &str); 6] = [
    (Task::Backup, "backup"),
    (Task::Verify, "verify"),
    (Task::Drill, "drill"),
    (Task::Prune, "prune"),
    (Task::Restore, "restore"),
    (Task::Import, "import"),
];

pub(super) const STATES: [(RunState, &str); 4] = [
    (RunState::Running, "running"),
    (RunState::Done, "done"),
    (RunState::Failed, "failed"),
    (RunState::Lost, "lost"),
];

pub(super) fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::CannotKeep(e.to_string()))
}

pub(super) fn read<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, StoreError> {
    let damaged = |e| StoreError::Damaged(format!("what is noted of backup {name}: {e}"));
    serde_json::from_str(text).map_err(damaged)
}
