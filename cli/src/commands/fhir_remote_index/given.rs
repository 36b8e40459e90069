//! What the command line says, as far as it can be told without opening a file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use remote_indexer::config::SchemaType;

use crate::java::jvm::Jvm;
use crate::java::options::Takes::{Nothing, Value};
use crate::java::options::{Options, at_least_one, number};

const FILE: &str = "a properties file";

/// Every option of the Java tool, and `--help`.
pub(super) const OPTIONS: Options = Options(&[
    ("--kafka-properties", Value(FILE)),
    ("--database-properties", Value(FILE)),
    ("--db-type", Value("postgresql or citus")),
    ("--topic-name", Value("the name of a topic")),
    (
        "--instance-identifier",
        Value("the FHIR server's instanceIdentifier"),
    ),
    ("--consumer-group", Value("the name of a consumer group")),
    ("--consumer-count", Value("a whole number")),
    ("--schema-type", Value("PLAIN or DISTRIBUTED")),
    ("--max-ready-time-ms", Value("a number of milliseconds")),
    ("--help", Nothing),
    ("-h", Nothing),
]);

/// See the [module](self). What is not given is none, empty or false; of an option given twice the later
/// counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Given {
    pub(super) jvm: Jvm,
    pub(super) help: bool,
    pub(super) kafka_properties: Option<PathBuf>,
    pub(super) database_properties: Option<PathBuf>,
    pub(super) citus: bool,
    pub(super) topic: Option<String>,
    pub(super) instance_identifier: Option<String>,
    pub(super) group: Option<String>,
    pub(super) consumers: Option<usize>,
    pub(super) schema_type: SchemaType,
    pub(super) max_ready_time: Option<Duration>,
}

impl Given {
    /// Reads the arguments after `stoker fhir-remote-index`.
    pub(super) fn parse(args: &[String]) -> anyhow::Result<Self> {
        let (jvm, args) = Jvm::take(args);
        let mut given = Self {
            jvm,
            ..Self::default()
        };
        OPTIONS.parse(args, |name, value| given.set(name, value))?;
        Ok(given)
    }

    fn set(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        let text = || Some(value.to_owned());
        match name {
            "--kafka-properties" => self.kafka_properties = Some(value.into()),
            "--database-properties" => self.database_properties = Some(value.into()),
            "--db-type" => self.citus = is_citus(value)?,
            "--topic-name" => self.topic = text(),
            "--instance-identifier" => self.instance_identifier = text(),
            "--consumer-group" => self.group = text(),
            "--consumer-count" => self.consumers = Some(at_least_one(name, value)? as usize),
            "--schema-type" => self.schema_type = schema_type(value)?,
            "--max-ready-time-ms" => {
                self.max_ready_time = Some(Duration::from_millis(number(name, value)?));
            }
            _ => self.help = true,
        }
        Ok(())
    }
}

fn is_citus(value: &str) -> anyhow::Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "postgresql" => Ok(false),
        "citus" => Ok(true),
        "derby" => bail!(
            "--db-type derby: a database of Derby can only be opened by one process of Java, and is not \
             supported; move the FHIR server to PostgreSQL and give --db-type postgresql"
        ),
        _ => bail!("--db-type {value}: is none; give postgresql or citus"),
    }
}

fn schema_type(value: &str) -> anyhow::Result<SchemaType> {
    match value.to_ascii_uppercase().as_str() {
        "PLAIN" => Ok(SchemaType::Plain),
        "DISTRIBUTED" => Ok(SchemaType::Distributed),
        "SHARDED" => bail!(
            "--schema-type SHARDED: is not supported, nor does the Java tool support it; give the FHIR \
             server's own, PLAIN or DISTRIBUTED"
        ),
        _ => bail!("--schema-type {value}: is none; give PLAIN or DISTRIBUTED"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> anyhow::Result<Given> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Given::parse(&args)
    }

    #[test]
    fn every_option_is_understood() {
        let found = parse(
            "java -Djava.util.logging.config.file=l -jar x-cli.jar --kafka-properties k \
             --database-properties d --db-type citus --topic-name T --instance-identifier i \
             --consumer-group g --consumer-count 3 --schema-type DISTRIBUTED --max-ready-time-ms 130000",
        );
        let text = |text: &str| Some(text.to_owned());
        let expected = Given {
            jvm: Jvm {
                logging: Some("l".into()),
                ..Jvm::default()
            },
            help: false,
            kafka_properties: Some("k".into()),
            database_properties: Some("d".into()),
            citus: true,
            topic: text("T"),
            instance_identifier: text("i"),
            group: text("g"),
            consumers: Some(3),
            schema_type: SchemaType::Distributed,
            max_ready_time: Some(Duration::from_secs(130)),
        };
        assert_eq!(found.unwrap(), expected);
        assert_eq!(parse("").unwrap(), Given::default());
        let last =
            parse("--db-type citus --db-type postgresql --topic-name a --topic-name b --help");
        let last = last.unwrap();
        assert!(last.help && !last.citus);
        assert_eq!(last.topic.as_deref(), Some("b"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_way_out() {
        for (line, expected) in [
            ("--topic X", "Bad arg: --topic; did you mean --topic-name?"),
            (
                "--database-property x",
                "did you mean --database-properties?",
            ),
            ("topic", "Bad arg: topic; did you mean --topic-name?"),
            ("--db-type derby", "move the FHIR server to PostgreSQL"),
            ("--db-type db2", "give postgresql or citus"),
            ("--schema-type SHARDED", "is not supported"),
            ("--schema-type FLAT", "give PLAIN or DISTRIBUTED"),
            ("--consumer-count 0", "must be 1 or more"),
            ("--consumer-count many", "is not a whole number"),
            ("--max-ready-time-ms -1", "is not a whole number"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn a_value_may_not_begin_like_an_option() {
        for (name, takes) in OPTIONS.0 {
            let Value(what) = takes else {
                continue;
            };
            let error = parse(name).unwrap_err().to_string();
            assert_eq!(error, format!("{name} needs a value: {what}"));
            let error = parse(&format!("{name} --value")).unwrap_err().to_string();
            assert!(error.contains("--value follows it"), "{error}");
        }
    }
}
