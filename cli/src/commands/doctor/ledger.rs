//! The ledger: reachable, with the rights to make and use its tables.

use bucket_scanner::ledger::{self, JavaTool, LedgerOptions, LedgerUrl};
use stoker_shared::clock::SystemClock;

use super::clocks;
use super::finding::{Finding, in_time};

pub(super) async fn check(settings: Result<(LedgerUrl, LedgerOptions), Finding>) -> Vec<Finding> {
    let (url, options) = match settings {
        Ok(settings) => settings,
        Err(finding) => return vec![finding],
    };
    if url == LedgerUrl::Memory {
        return vec![Finding::ok("ledger", "in memory, gone with the process")];
    }
    let look = ledger::look(&url, &options, &SystemClock);
    let look = match in_time("ledger", look).await {
        Err(late) => return late,
        Ok(Err(error)) => return vec![Finding::error("ledger", error)],
        Ok(Ok(look)) => look,
    };
    let tables = match (look.tables, &look.java) {
        (Some(version), _) => format!("tables of version {version}"),
        (None, JavaTool::Adoptable) => {
            "tables of fhir-bucket; the first load takes them over".to_owned()
        }
        (None, _) => "no tables yet; the first load makes them".to_owned(),
    };
    let detail = format!("{}, {}, {tables}", look.place, look.software);
    let mut findings = vec![Finding::ok("ledger", detail)];
    if let JavaTool::Running(instances) = &look.java {
        let detail = format!(
            "fhir-bucket still runs on its tables: {}",
            instances.join(", ")
        );
        findings.push(Finding::warn(
            "ledger",
            detail,
            "stop it; it loads what Stoker loads too",
        ));
    }
    findings.extend(look.ahead.map(|ahead| clocks::compare("ledger", ahead)));
    findings
}
