//! What a webhook gets.

use chrono::{DateTime, Utc};
use serde::Serialize;
use stoker_shared::store::columns;

use crate::catalog::{Notice, Stage};
use crate::troubles::KINDS;

/// What a webhook gets, as a JSON object. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The same in what is sent again, since it is not known whether it was taken.
    pub id: String,
    /// The same in all messages of one trouble.
    pub trouble: String,
    /// `began`, `lasts` or `ended`.
    pub state: &'static str,
    /// `late`, `shrunk`, `empty`, `failed_run`, `failed_verification`, `failed_proof` or `unproven`.
    pub kind: &'static str,
    /// The source, as the configuration names it.
    pub source: String,
    /// The backup; none where it is about no single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// What is wrong, for people.
    pub sentence: String,
    /// The same with source and state, for what shows nothing but a `text`, as chats do.
    pub text: String,
    /// When it was seen first.
    pub since: DateTime<Utc>,
    /// When it was seen to be over; none while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<DateTime<Utc>>,
    /// When this was sent.
    pub time: DateTime<Utc>,
    /// Host and process of the agent that sends it.
    pub agent: String,
}

impl Message {
    /// Of a notice, sent now.
    pub fn of(notice: &Notice, agent: &str, now: DateTime<Utc>) -> Self {
        let (state, mark) = match notice.stage {
            Stage::Began => ("began", "backup trouble"),
            Stage::Lasts => ("lasts", "backup trouble goes on"),
            Stage::Ended => ("ended", "backup trouble over"),
        };
        let backup = Some(notice.backup.clone()).filter(|backup| !backup.is_empty());
        Self {
            id: notice.notice_id.clone(),
            trouble: notice.trouble_id.clone(),
            state,
            kind: columns::spell(&KINDS, notice.kind).unwrap_or_default(),
            source: notice.source.clone(),
            backup,
            sentence: notice.sentence.clone(),
            text: format!("{mark}: {}: {}", notice.source, notice.sentence),
            since: notice.since,
            // Of one that came and went before anybody was told, each message tells its part.
            ended: notice.ended.filter(|_| notice.stage == Stage::Ended),
            time: now,
            agent: agent.to_owned(),
        }
    }
}
