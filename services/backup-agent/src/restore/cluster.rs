//! What is left to do on other nodes of a cluster.

use std::path::Path;

/// The steps, in order, after a data folder was restored on the node of the primary. Standbys follow the old system, whose
/// log the restored one does not go on with: each is made anew from the restored primary.
pub fn steps_on_other_nodes(data: &Path) -> Vec<String> {
    let data = data.display();
    vec![
        "Keep applications away until all nodes are up: stop the FHIR server, or its pool.".to_owned(),
        format!("On each other node, stop PostgreSQL and empty its data folder ({data} if it is as here): a standby of before the restore must not come up, or repmgr may make it the primary."),
        "Where archive_mode is on, give the restored server a new archive, or empty the old one: both would write the same names. A server that the restore has started archives nothing until its own service starts it; pg_ctl restart keeps it so.".to_owned(),
        "Start PostgreSQL on this node, and see that it answers and says `f` to: SELECT pg_is_in_recovery();".to_owned(),
        "In a cluster of repmgr containers, let REPMGR_PRIMARY_HOST name this node, then start the others: they clone this one. Without containers: repmgr standby clone --force, then repmgr standby register --force. With Patroni: patronictl reinit.".to_owned(),
        "Wait until SELECT client_addr, state, replay_lsn FROM pg_stat_replication; shows every standby as `streaming`; the FHIR server may answer 500 until then.".to_owned(),
        "Start the FHIR server, and re-index what was loaded after the backup was made.".to_owned(),
    ]
}
