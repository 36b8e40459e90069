//! What the remote-indexer uses: its topics, and the FHIR server's database.

use remote_indexer::config::{Config, Draft};
use remote_indexer::{SchemaLook, look};
use stoker_shared::kafka::{self, KafkaConfig, KafkaLook};

use super::Check;
use super::finding::{Finding, LIMIT, in_time};
use crate::embedded::unexpected;
use crate::output::one_sentence;

const WHAT: &str = "remote-indexer";
const TOPIC: &str = "Kafka (remote_indexer)";
const DATABASE: &str = "FHIR database";

pub(super) fn checks(draft: Draft, is_sound: bool) -> Vec<Check> {
    if draft.is_blank() || !is_sound {
        let detail = "not configured";
        let to_do = "to index what a FHIR server sends over Kafka, set kafka.brokers, database.url and \
                     instance_identifier of remote_indexer";
        return vec![Check::known(Finding::none(WHAT, is_sound, detail, to_do))];
    }
    let missing = draft.missing();
    if !missing.is_empty() {
        let detail = format!("{} of remote_indexer missing", missing.join(", "));
        let to_do = "give what is missing, or take the section out";
        return vec![Check::known(Finding::fail(WHAT, detail, to_do))];
    }
    let Draft(config) = draft;
    vec![
        Check::new(TOPIC, topics(config.clone())),
        Check::new(DATABASE, database(config)),
    ]
}

async fn topics(config: Config) -> Vec<Finding> {
    let name = &config.topic.name;
    let look = match look_for(&config, name).await {
        Err(finding) => return vec![finding],
        Ok(look) => look,
    };
    let consumers = config.topic.consumers;
    let topic = match look.partitions {
        None => {
            let to_do =
                "the FHIR server makes it with its first message where it may; else make it";
            Finding::warn(TOPIC, format!("no topic {name} yet"), to_do)
        }
        Some(partitions) if partitions < consumers => {
            let detail =
                format!("topic {name} has {partitions} partitions for {consumers} consumers");
            Finding::warn(
                TOPIC,
                detail,
                "set topic.consumers lower, or give the topic more",
            )
        }
        Some(partitions) => Finding::ok(TOPIC, format!("topic {name} of {partitions} partitions")),
    };
    let letters = config.topic.dead_letters();
    let letters = match look_for(&config, &letters).await {
        Err(finding) => finding,
        Ok(KafkaLook {
            partitions: None, ..
        }) => Finding::ok(
            TOPIC,
            format!("no topic {letters} yet; the first dead letter makes it"),
        ),
        Ok(_) => Finding::ok(TOPIC, format!("topic {letters} of dead letters")),
    };
    vec![topic, letters]
}

async fn look_for(config: &Config, topic: &str) -> Result<KafkaLook, Finding> {
    let asked = KafkaConfig {
        events_topic: topic.to_owned(),
        ..config.kafka.clone()
    };
    // It ends by itself within the limit, knowing more of why than that the time is over.
    let looked = tokio::task::spawn_blocking(move || kafka::look(&asked, LIMIT)).await;
    let looked = looked.map_err(|panic| Finding::error(TOPIC, one_sentence(&unexpected(panic))))?;
    looked.map_err(|error| Finding::error(TOPIC, error))
}

async fn database(config: Config) -> Vec<Finding> {
    match in_time(DATABASE, look(&config)).await {
        Err(late) => late,
        Ok(Err(error)) => vec![Finding::error(DATABASE, error)],
        Ok(Ok(found)) => {
            let detail = format!("{}, PostgreSQL {}", found.place, found.version);
            let mut findings = vec![Finding::ok(DATABASE, detail)];
            findings.extend(found.schemas.iter().map(schema));
            findings
        }
    }
}

fn schema(look: &SchemaLook) -> Finding {
    let what = format!("{DATABASE} schema {}", look.name);
    if !look.missing.is_empty() {
        let to_do =
            "check database.schema, or tenants; the FHIR server's own tool makes the tables";
        return Finding::fail(
            &what,
            format!("no table {}", look.missing.join(", ")),
            to_do,
        );
    }
    if !look.denied.is_empty() {
        let detail = format!("the user may not read and write {}", look.denied.join(", "));
        let to_do = "grant it SELECT, INSERT, UPDATE and DELETE on all tables of the schema, and USAGE on its sequences";
        return Finding::fail(&what, detail, to_do);
    }
    Finding::ok(&what, format!("tables of {} resource types", look.types))
}
