//! `stoker backup schedule`: what is due when, and what of an ofelia file Stoker does.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use backup_agent::schedule::ofelia::{self, Around, NativeJob, Read};
use stoker_shared::config::parse_override;

use crate::output::Output;

/// Which schedule.
#[derive(Debug, clap::Args)]
pub(super) struct ScheduleArgs {
    /// The INI file of ofelia: shows what of it Stoker does by itself, and why not the rest
    #[arg(long, value_name = "FILE")]
    ofelia: Option<PathBuf>,
    /// The value of a ${VARIABLE} of that file; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE", requires = "ofelia", value_parser = parse_override)]
    variables: Vec<(String, String)>,
    /// Where a volume or folder of the host is here; may be repeated
    #[arg(long = "path", value_name = "VOLUME=FOLDER", requires = "ofelia", value_parser = parse_override)]
    paths: Vec<(String, String)>,
}

impl ScheduleArgs {
    pub(super) fn is_about_a_file(&self) -> bool {
        self.ofelia.is_some()
    }
}

/// Shows what becomes of the file. Nothing of it is run.
pub(super) fn run(args: ScheduleArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let file = args.ofelia.context("name the file with --ofelia")?;
    let shown = file.display();
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{shown} cannot be read; check the name"))?;
    let paths = args.paths.into_iter();
    let around = Around {
        variables: args.variables.into_iter().collect(),
        paths: paths.map(|(volume, path)| (volume, path.into())).collect(),
    };
    let read = ofelia::read(&text, &around).with_context(|| shown.to_string())?;
    output.result(&read, || told(&read))?;
    Ok(ExitCode::SUCCESS)
}

fn told(read: &Read) -> String {
    let mut out = String::new();
    for job in &read.native {
        out.push_str(&native(job));
    }
    for rest in &read.rest {
        let _ = writeln!(
            out,
            "not run  {} (line {}): {}",
            rest.name, rest.line, rest.reason
        );
    }
    if out.is_empty() {
        out.push_str("no jobs\n");
    }
    out
}

fn native(job: &NativeJob) -> String {
    let port = job.port.map_or_else(String::new, |port| format!(":{port}"));
    let host = job.host.as_deref().unwrap_or("as libpq finds it");
    let user = job
        .user
        .as_ref()
        .map_or_else(String::new, |user| format!("{user}@"));
    let mut out = format!(
        "runs     {}: {}, {user}{host}{port} to {}\n",
        job.name,
        job.schedule,
        job.repository.display()
    );
    for note in &job.notes {
        let _ = writeln!(out, "         note: {note}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_run_says_why() {
        let read = |text: &str| ofelia::read(text, &Around::default()).unwrap();
        let text = told(&read("[global]\nsave-folder = /x\n"));
        let expected = "not run  global (line 1): it holds ofelia's own settings";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(told(&read("")), "no jobs\n");
    }
}
