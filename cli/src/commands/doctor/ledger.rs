//! The ledger: reachable, with the rights to make and use its tables.

use bucket_scanner::ledger::{self, LedgerOptions, LedgerUrl};
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
    let tables = match look.tables {
        Some(version) => format!("tables of version {version}"),
        None => "no tables yet; the first load makes them".to_owned(),
    };
    let detail = format!("{}, {}, {tables}", look.place, look.software);
    let mut findings = vec![Finding::ok("ledger", detail)];
    findings.extend(look.ahead.map(|ahead| clocks::compare("ledger", ahead)));
    findings
}
