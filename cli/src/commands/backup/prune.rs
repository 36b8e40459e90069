//! `stoker backup prune`: which backups go.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};
use stoker_proto::backup::v1::{Decision, PruneRequest, Pruning};

use super::OfSource;
use super::place::sentence;
use super::session::Session;
use super::units::{ago, exact, size};
use crate::output::Output;

/// Which backups are looked at, and whether those that are to go do.
#[derive(Debug, clap::Args)]
pub(super) struct PruneArgs {
    #[command(flatten)]
    of: OfSource,
    /// Delete those that are to go; without, nothing is
    #[arg(long)]
    apply: bool,
}

pub(super) async fn run(
    session: &Session,
    args: PruneArgs,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let request = PruneRequest {
        source: args.of.source.unwrap_or_default(),
        apply: args.apply,
    };
    let answer = session.client().prune(request).await;
    let prunings = answer.map_err(sentence)?.into_inner().prunings;
    let values: Vec<Value> = prunings.iter().map(to_json).collect();
    output.result(&values, || text(&prunings, args.apply))?;
    for refused in prunings
        .iter()
        .filter(|pruning| !pruning.refused.is_empty())
    {
        output.say(&format!("error: {}: {}", refused.source, refused.refused));
    }
    let goes = prunings.iter().flat_map(|p| &p.decisions).any(|d| !d.stays);
    if goes && !args.apply {
        output.say("nothing was deleted; --apply deletes what goes");
    }
    let refused = prunings.iter().any(|pruning| !pruning.refused.is_empty());
    Ok(ExitCode::from(u8::from(refused)))
}

fn text(prunings: &[Pruning], applied: bool) -> String {
    let mut out = String::new();
    for pruning in prunings {
        let _ = writeln!(out, "{} in {}", pruning.source, pruning.place);
        for decision in &pruning.decisions {
            let word = match (decision.stays, applied) {
                (true, _) => "stays",
                (false, false) => "goes",
                (false, true) if pruning.deleted.contains(&decision.name) => "deleted",
                (false, true) => "left",
            };
            let _ = writeln!(
                out,
                "  {word:<9}{}{:>12}{:>6}  {}",
                decision.name,
                size(decision.bytes),
                ago(decision.started),
                decision.why.join("; ")
            );
        }
    }
    if out.is_empty() {
        out.push_str("no backups\n");
    }
    out
}

fn to_json(pruning: &Pruning) -> Value {
    let decisions = pruning.decisions.iter().map(decision_to_json);
    json!({
        "source": pruning.source, "place": pruning.place,
        "decisions": decisions.collect::<Vec<_>>(),
        "deleted": pruning.deleted, "refused": pruning.refused,
    })
}

fn decision_to_json(decision: &Decision) -> Value {
    json!({
        "name": decision.name, "started": exact(decision.started), "bytes": decision.bytes,
        "stays": decision.stays, "why": decision.why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backup_has_its_reason() {
        let decision = |name: &str, stays, why: &str| Decision {
            name: name.to_owned(),
            stays,
            why: vec![why.to_owned()],
            ..Decision::default()
        };
        let pruning = Pruning {
            source: "fhir".to_owned(),
            place: "/backups".to_owned(),
            decisions: vec![
                decision("b", true, "newest of its day"),
                decision("a", false, "no rule wants it"),
            ],
            deleted: Vec::new(),
            refused: String::new(),
        };
        let dry = text(std::slice::from_ref(&pruning), false);
        assert!(
            dry.contains("stays    b") && dry.contains("goes     a"),
            "{dry}"
        );
        assert!(dry.contains("newest of its day"), "{dry}");
        let stopped = text(std::slice::from_ref(&pruning), true);
        assert!(stopped.contains("left     a"), "{stopped}");
        let deleted = Pruning {
            deleted: vec!["a".to_owned()],
            ..pruning
        };
        assert!(text(&[deleted], true).contains("deleted  a"));
    }
}
