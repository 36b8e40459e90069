//! What is backed up, when and where to, and how it stands.

use stoker_proto::backup::v1 as proto;

use super::spell::time;
use crate::agent::{Agent, AgentError, Source};
use crate::schedule::Schedule;
use crate::troubles;
use crate::watch::Standing;

pub(super) async fn sources(agent: &Agent) -> Result<Vec<proto::Source>, AgentError> {
    let mut sources = Vec::new();
    for source in agent.sources().values() {
        let standing = agent.standing(source).await?;
        let mut shown = shown(source, &standing);
        let unusable = agent.unusable().into_iter();
        let unusable = unusable.filter(|unusable| unusable.place == shown.place);
        let reasons: Vec<_> = unusable.map(|unusable| unusable.reason).collect();
        shown.troubles.extend(reasons);
        sources.push(shown);
    }
    Ok(sources)
}

fn shown(source: &Source, standing: &Standing) -> proto::Source {
    let last = standing.backups.first();
    let proven = troubles::last_proof(&standing.proofs);
    let text = |schedule: Option<&Schedule>| schedule.map_or_else(String::new, ToString::to_string);
    proto::Source {
        name: source.name.clone(),
        store: source.store.kind().name().to_owned(),
        address: source.store.address(),
        place: source.repository.place(),
        engine: source.store.engine().to_owned(),
        schedule: text(source.schedule.as_ref()),
        next_due: standing.next_due.map(time),
        last_backup: last.map(|kept| time(kept.manifest.started)),
        last_proof: proven.map(|proven| time(proven.proof.at)),
        backups: u32::try_from(standing.backups.len()).unwrap_or(u32::MAX),
        bytes: standing.stored_bytes(),
        troubles: standing.troubles.iter().map(ToString::to_string).collect(),
        drill_schedule: text(source.drill_schedule.as_ref()),
        next_drill: standing.next_drill.map(time),
    }
}
