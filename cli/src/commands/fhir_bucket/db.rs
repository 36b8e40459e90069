//! The tracking database, as properties and `--db-prop` name it, as a ledger.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bucket_scanner::ledger::LedgerUrl;
use stoker_shared::properties::Properties;
use stoker_shared::secret::Secret;

use super::given::{DbProperties, DbType, Given};
use crate::java::jdbc::{self, folded, given};
use crate::java::notes::Notes;

/// How the ledger is opened.
#[derive(Debug, PartialEq)]
pub(super) struct Database {
    pub(super) url: LedgerUrl,
    /// PostgreSQL's.
    pub(super) password: Option<Secret>,
    /// PostgreSQL's.
    pub(super) schema: String,
    pub(super) connections: Option<u32>,
}

/// As the Java tool calls it; a name without quotes is one in lower case.
const SCHEMA: &str = "FHIRBUCKET";

impl Database {
    pub(super) fn of(given: &Given, notes: &mut Notes) -> anyhow::Result<Self> {
        let Some(kind) = given.db_type else {
            bail!(
                "no tracking database is named; give --db-type and --db-properties, or --immediate-local to load without one"
            );
        };
        let properties = gather(&given.db_properties, notes)?;
        if properties.iter().next().is_none() {
            bail!(
                "--db-type needs the properties of the database; give --db-properties FILE or --db-prop NAME=VALUE"
            );
        }
        let schema = given.schema_name.as_deref().unwrap_or(SCHEMA);
        let (url, password) = match kind {
            DbType::Derby => (derby(&properties, notes)?, None),
            DbType::Postgresql => {
                let (url, password) = jdbc::postgresql(&properties, notes)?;
                (LedgerUrl::Postgres(url.into()), password)
            }
        };
        Ok(Self {
            url,
            password,
            schema: folded(schema),
            connections: given.connection_pool_size,
        })
    }
}

/// Of a key given twice, the later value counts.
fn gather(sources: &[DbProperties], notes: &mut Notes) -> anyhow::Result<Properties> {
    let mut all = Properties::default();
    for source in sources {
        match source {
            DbProperties::File(file) => {
                let read = Properties::read(file).context("--db-properties")?;
                for (name, value) in read.iter() {
                    all.set(name.to_owned(), value.to_owned());
                }
            }
            DbProperties::One { name, value } => all.set(name.clone(), value.expose().to_owned()),
            DbProperties::Odd => {
                notes.warn("a --db-prop is not NAME=VALUE and has no effect");
            }
        }
    }
    Ok(all)
}

fn is_yes(properties: &Properties, key: &str) -> bool {
    let value = properties.get(key).unwrap_or_default().trim();
    value.eq_ignore_ascii_case("y") || value.eq_ignore_ascii_case("true")
}

/// An SQLite file of the database's name.
fn derby(properties: &Properties, notes: &mut Notes) -> anyhow::Result<LedgerUrl> {
    if is_yes(properties, "db.derby.memory") {
        notes.info("the tracking database is kept in memory, and is gone with this process");
        return Ok(LedgerUrl::Memory);
    }
    let Some(name) = given(properties, "db.database") else {
        bail!("db.database names no database; give one such as derby/bucketDB");
    };
    let mut file = PathBuf::from(name).into_os_string();
    file.push(".sqlite");
    let file = PathBuf::from(file);
    if !file.exists() && !is_yes(properties, "db.create") {
        bail!(
            "{}: there is no such database; set db.create=Y to make it",
            file.display()
        );
    }
    if Path::new(name).is_dir() {
        notes.warn(format!(
            "{name}: the database of Derby that lies there is not read"
        ));
    }
    notes.info(format!(
        "the tracking database is SQLite's, in {}, in the place of Derby",
        file.display()
    ));
    Ok(LedgerUrl::Sqlite(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(line: &str, text: &str) -> (anyhow::Result<Database>, Notes) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db.properties");
        std::fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let args = line.split_whitespace().map(str::to_owned);
        let args: Vec<String> = args.chain(["--db-properties".to_owned(), file]).collect();
        let mut notes = Notes::default();
        let database = Database::of(&Given::parse(&args).unwrap(), &mut notes);
        (database, notes)
    }

    const POSTGRES: &str = "--db-type postgresql";
    const PLACE: &str = "db.host=db.example.org\ndb.port=5432\ndb.database=fhir\n";

    fn url(text: &str) -> String {
        let (database, _) = database(POSTGRES, &format!("{PLACE}{text}"));
        match database.unwrap().url {
            LedgerUrl::Postgres(url) => url,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn properties_of_postgresql_become_an_address() {
        let text = format!(
            "{PLACE}user=me@home\npassword=p@ss/w?rd\nsslrootcert=/path/to/postgres.cert\nssl=true\n\
             sslmode=require\ncurrentSchema=FHIRBUCKET\ndb.default.schema=x\n"
        );
        let (database, notes) = database("--db-type citus --connection-pool-size 20", &text);
        let expected = Database {
            url: LedgerUrl::Postgres(
                "postgres://me%40home@db.example.org:5432/fhir?sslmode=require".to_owned(),
            ),
            password: Some("p@ss/w?rd".into()),
            schema: "fhirbucket".to_owned(),
            connections: Some(20),
        };
        assert_eq!(database.unwrap(), expected);
        assert!(notes.warnings().is_empty(), "{notes:?}");
    }

    #[test]
    fn ssl_means_what_it_means_to_jdbc() {
        for (text, expected) in [
            ("", ""),
            ("ssl=false", ""),
            ("ssl=true", "?sslmode=verify-full"),
            ("ssl=", "?sslmode=verify-full"),
            ("ssl=true\nsslmode=verify-ca", "?sslmode=verify-ca"),
            ("sslmode=disable", "?sslmode=disable"),
            (
                "ssl=true\nsslfactory=org.postgresql.ssl.NonValidatingFactory",
                "?sslmode=require",
            ),
        ] {
            let expected = format!("postgres://db.example.org:5432/fhir{expected}");
            assert_eq!(url(text), expected, "{text}");
        }
        let ssl = "sslmode=verify-full\nsslcert=c.pem\nsslkey=k.pem\nsslrootcert=/r/o t.pem\n\
                   options=-c statement_timeout=9";
        assert!(url(ssl).ends_with(
            "?sslmode=verify-full&sslcert=c.pem&sslkey=k.pem&sslrootcert=%2Fr%2Fo+t.pem&\
             options=-c+statement_timeout%3D9"
        ));
    }

    #[test]
    fn later_properties_count() {
        let (database, notes) = database(
            "--db-type postgresql --db-prop db.host=::1 --db-prop odd --schema-name \"Mine\"",
            "db.port=1\ndb.database=x\nloginTimeout=3\nsocketTimeout=9\n",
        );
        let database = database.unwrap();
        assert_eq!(
            database.url,
            LedgerUrl::Postgres("postgres://[::1]:1/x".to_owned())
        );
        assert_eq!(
            (database.schema.as_str(), database.connections),
            ("Mine", None)
        );
        let warnings = notes.warnings().join("\n");
        assert!(warnings.contains("not NAME=VALUE"), "{warnings}");
        assert!(
            warnings.contains("loginTimeout, socketTimeout"),
            "{warnings}"
        );
    }

    #[test]
    fn derby_becomes_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("derby/bucketDB").display().to_string();
        let derby =
            |text: &str| database("--db-type derby", &format!("db.database={name}\n{text}"));
        let expected = LedgerUrl::Sqlite(format!("{name}.sqlite").into());
        assert_eq!(derby("db.create=Y").0.unwrap().url, expected);
        let error = derby("").0.unwrap_err().to_string();
        assert!(error.ends_with("set db.create=Y to make it"), "{error}");
        std::fs::create_dir_all(folder.path().join("derby")).unwrap();
        std::fs::write(format!("{name}.sqlite"), "").unwrap();
        assert_eq!(derby("").0.unwrap().url, expected, "it is there");
        let (memory, notes) = derby("db.derby.memory=Y");
        assert_eq!(memory.unwrap().url, LedgerUrl::Memory);
        assert!(notes.infos()[0].contains("in memory"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (line, text, expected) in [
            ("", PLACE, "give --db-type"),
            (POSTGRES, "", "--db-properties FILE"),
            (POSTGRES, "db.port=5432\ndb.database=x", "lack db.host"),
            (POSTGRES, "db.host=h\ndb.database=x", "lack db.port"),
            (POSTGRES, "db.host=h\ndb.port=5432", "lack db.database"),
            (
                POSTGRES,
                "db.host=h\ndb.port=x\ndb.database=x",
                "db.port=x: is no port",
            ),
            ("--db-type derby", "db.create=Y", "db.database names no"),
        ] {
            let error = database(line, text).0.unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        let mut notes = Notes::default();
        let args = ["--db-type", "derby", "--db-properties", "/no/db.properties"];
        let given = Given::parse(&args.map(str::to_owned)).unwrap();
        let error = Database::of(&given, &mut notes).unwrap_err();
        assert!(format!("{error:#}").contains("/no/db.properties: cannot be read"));
    }
}
