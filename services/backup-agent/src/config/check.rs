//! Whether what is configured makes sense.

use std::path::Path;
use std::time::Duration;

use stoker_shared::config::Faults;

use super::{BackupSettings, Config, Engine, SourceSettings};
use crate::compress::Compression;
use crate::repository;

/// What PostgreSQL takes as `MAX_RATE`.
const RATES: std::ops::RangeInclusive<u32> = 32..=1_048_576;

pub(super) fn check(config: &Config, faults: &mut Faults) {
    config.kafka.validate("kafka", faults);
    config.repository.s3.validate("repository.s3", faults);
    check_catalog(config, faults);
    check_place(
        config,
        "repository.url",
        config.repository.url.as_deref(),
        faults,
    );
    check_backup("backup", &config.backup, faults);
    check_drill(config, faults);
    config.notify.validate("notify", faults);
    if config.troubles.shrunk_percent > 100 {
        faults.add("troubles.shrunk_percent", "must be 100 or less");
    }
    for (name, source) in &config.sources {
        check_source(config, name, source, faults);
    }
    if let Some(file) = &config.ofelia.file
        && !file.is_file()
    {
        let problem = format!("{} is not there, or is no file", file.display());
        faults.add("ofelia.file", problem);
    }
}

fn check_catalog(config: &Config, faults: &mut Faults) {
    let catalog = &config.catalog;
    if let Err(error) = catalog.password() {
        faults.add("catalog.password_file", error.to_string());
    }
    if catalog.connections < 2 {
        faults.add("catalog.connections", "must be 2 or more");
    }
    if catalog.lease < Duration::from_secs(3) {
        faults.add("catalog.lease", "must be 3s or more");
    }
}

fn check_drill(config: &Config, faults: &mut Faults) {
    let folders = [
        ("drill.scratch", Some(&config.drill.scratch)),
        ("drill.programs", config.drill.programs.as_ref()),
    ];
    for (key, folder) in folders {
        if folder.is_some_and(|folder| !Path::is_absolute(folder)) {
            faults.add(key, "must be a full path, from / on");
        }
    }
}

fn check_source(config: &Config, name: &str, source: &SourceSettings, faults: &mut Faults) {
    let key = |key: &str| format!("sources.{name}.{key}");
    if source.url.is_none() {
        faults.add(
            &key("url"),
            "must be given, such as postgres://user@db:5432/",
        );
    }
    check_engine(config, name, source, faults);
    if let Err(error) = source.password(name) {
        faults.add(&key("password_file"), error.to_string());
    }
    if source.repository.is_none() && config.repository.url.is_none() {
        let problem = "must be given here or as repository.url: a folder or s3://bucket/prefix";
        faults.add(&key("repository"), problem);
    }
    check_place(
        config,
        &key("repository"),
        source.repository.as_deref(),
        faults,
    );
    check_backup(
        &format!("sources.{name}"),
        &config.backup.of(source),
        faults,
    );
}

/// What pgBackRest's own configuration says is said in one place.
fn check_engine(config: &Config, name: &str, source: &SourceSettings, faults: &mut Faults) {
    let key = |key: &str| format!("sources.{name}.{key}");
    let engine = config.backup.of(source).engine;
    if engine != Engine::Pgbackrest {
        if source.stanza.is_some() {
            faults.add(&key("stanza"), "is of use with `engine: pgbackrest` only");
        }
        return;
    }
    for (setting, is_given) in [
        ("compression", source.compression.is_some()),
        ("threads", source.threads.is_some()),
        ("server_compression", source.server_compression.is_some()),
        ("max_rate_kb", source.max_rate_kb.is_some()),
    ] {
        if is_given {
            let problem = "is for pgBackRest's own configuration to say; take it out here";
            faults.add(&key(setting), problem);
        }
    }
}

fn check_place(config: &Config, key: &str, url: Option<&str>, faults: &mut Faults) {
    let clock = std::sync::Arc::new(stoker_shared::clock::SystemClock);
    let opened = url.map(|url| repository::open(url, &config.repository.options(), clock));
    if let Some(Err(error)) = opened {
        faults.add(key, error.to_string());
    }
}

fn check_backup(section: &str, backup: &BackupSettings, faults: &mut Faults) {
    let key = |key: &str| format!("{section}.{key}");
    if backup.threads == 0 {
        faults.add(&key("threads"), "must be 1 or more");
    }
    if backup
        .max_rate_kb
        .is_some_and(|rate| !RATES.contains(&rate))
    {
        faults.add(&key("max_rate_kb"), "must be between 32 and 1048576");
    }
    if backup.server_compression && backup.compression == Compression::None {
        faults.add(
            &key("server_compression"),
            "needs a compression of gzip or zstd",
        );
    }
    if backup.deadline < Duration::from_secs(1) {
        faults.add(&key("deadline"), "must be 1s or more");
    }
    if backup.attempts == 0 {
        faults.add(&key("attempts"), "must be 1 or more");
    }
}
