//! What the options and the files they name ask for, as the configuration of the service.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};
use remote_indexer::Config;
use remote_indexer::config::DatabaseSettings;
use stoker_shared::config::{self, Load};
use stoker_shared::kafka::java::JavaConsumer;
use stoker_shared::postgres::PostgresUrl;
use stoker_shared::properties::Properties;

use super::given::Given;
use crate::Global;
use crate::java::jdbc::{self, folded};
use crate::java::notes::Notes;

/// Reads the files that are named; connects to nothing.
pub(super) fn config(given: &Given, global: &Global, notes: &mut Notes) -> anyhow::Result<Config> {
    let Some(instance) = given
        .instance_identifier
        .as_deref()
        .filter(|id| !id.is_empty())
    else {
        bail!(
            "--instance-identifier is needed; give the instanceIdentifier of the FHIR server's \
             remoteIndexService"
        );
    };
    let database = database(given, notes)?;
    let java = kafka(given, notes)?;
    for property in &given.jvm.ignored {
        notes.warn(format!("-D{property}: has no effect here"));
    }
    // The file sets what the Java tool has no option for; what it must have comes from here.
    let overrides = [
        ("kafka.brokers", java.kafka.brokers()),
        ("instance_identifier", instance.to_owned()),
        ("database.url", database.0.expose().to_owned()),
    ];
    let mut config: Config = config::load(&Load {
        file: global.config.clone(),
        overrides: overrides.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Load::section("remote-indexer")
    })?;
    config.database = database.1;
    take_kafka(&mut config, java);
    take_options(&mut config, given);
    leave_ports(&mut config);
    Ok(config)
}

fn database(given: &Given, notes: &mut Notes) -> anyhow::Result<(PostgresUrl, DatabaseSettings)> {
    let option = "--database-properties";
    let properties = read(option, given.database_properties.as_deref())?;
    let (url, password) = jdbc::postgresql(&properties, notes).context(option)?;
    let Some(schema) = jdbc::given(&properties, "currentSchema") else {
        bail!(
            "{option}: currentSchema is missing; give the schema of the FHIR server's tables, such as fhirdata"
        );
    };
    if schema.contains(',') {
        bail!(
            "{option}: currentSchema={schema}: names several schemas; give that of the FHIR server's tables"
        );
    }
    let url: PostgresUrl = url.as_str().parse()?;
    let settings = DatabaseSettings {
        url: Some(url.clone()),
        password,
        password_file: None,
        schema: folded(schema),
        schema_type: given.schema_type,
        citus: given.citus,
    };
    Ok((url, settings))
}

/// Without a trust store of its own, Kafka's client has that of the JVM.
fn kafka(given: &Given, notes: &mut Notes) -> anyhow::Result<JavaConsumer> {
    let option = "--kafka-properties";
    let properties = read(option, given.kafka_properties.as_deref())?;
    let mut java = JavaConsumer::of(&properties).context(option)?;
    if java.kafka.ca_file.is_none() && java.kafka.pem.ca.is_none() {
        java.kafka.ca_file.clone_from(&given.jvm.trust_store);
        java.kafka
            .ca_password
            .clone_from(&given.jvm.trust_store_password);
    }
    // Tells of a file that cannot be used before anything is started.
    java.kafka.client().context(option)?;
    for info in java.infos.drain(..) {
        notes.info(info);
    }
    for warning in java.warnings.drain(..) {
        notes.warn(warning);
    }
    Ok(java)
}

fn read(option: &str, file: Option<&Path>) -> anyhow::Result<Properties> {
    let Some(file) = file else {
        bail!("{option} is needed; give a properties file");
    };
    Properties::read(file).with_context(|| option.to_owned())
}

fn take_kafka(config: &mut Config, java: JavaConsumer) {
    config.kafka = java.kafka;
    config.topic.properties.extend(java.consumer);
    config.topic.member = java.member.or(config.topic.member.take());
    if let Some(most) = java.most_records {
        config.index.batch_messages = most;
    }
}

fn take_options(config: &mut Config, given: &Given) {
    let topic = &mut config.topic;
    for (setting, option) in [
        (&mut topic.name, &given.topic),
        (&mut topic.group, &given.group),
    ] {
        if let Some(option) = option {
            setting.clone_from(option);
        }
    }
    topic.consumers = given.consumers.unwrap_or(topic.consumers);
    let index = &mut config.index;
    index.max_ready_time = given.max_ready_time.unwrap_or(index.max_ready_time);
}

/// The Java tool opens no port, so that several run on one host. Unless the file names another than the
/// service's own, ours are chosen by the system.
fn leave_ports(config: &mut Config) {
    let default = Config::default().service;
    let service = &mut config.service;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    if service.http_listen == default.http_listen {
        service.http_listen = any;
    }
    if service.grpc.listen == default.grpc.listen {
        service.grpc.listen = any;
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
