//! The tracking database, as properties and `--db-prop` name it, as a ledger.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bucket_scanner::ledger::LedgerUrl;
use stoker_shared::properties::Properties;
use stoker_shared::secret::Secret;
use url::Url;

use super::given::{DbProperties, DbType, Given};
use super::notes::Notes;

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

/// Keys of JDBC that a connection here knows by the same name.
const SAME: [&str; 4] = ["sslrootcert", "sslcert", "sslkey", "options"];

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
            DbType::Postgresql => postgresql(&properties, notes)?,
        };
        Ok(Self {
            url,
            password,
            schema: folded(schema),
            connections: given.connection_pool_size,
        })
    }
}

/// A name in quotes is as it is.
fn folded(name: &str) -> String {
    let quoted = name.strip_prefix('"').and_then(|n| n.strip_suffix('"'));
    quoted.map_or_else(|| name.to_lowercase(), str::to_owned)
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

fn postgresql(
    properties: &Properties,
    notes: &mut Notes,
) -> anyhow::Result<(LedgerUrl, Option<Secret>)> {
    let needed = |key| {
        given(properties, key).with_context(|| format!("the properties of the database lack {key}"))
    };
    let (host, port) = (needed("db.host")?, needed("db.port")?);
    let port: u16 = port
        .parse()
        .with_context(|| format!("db.port={port}: is no port"))?;
    let mut url = Url::parse("postgres://localhost")?;
    let wrong = || format!("db.host={host}: is no host");
    let host = if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    url.set_host(Some(&host)).with_context(wrong)?;
    // An address of this kind takes both.
    let _ = url.set_port(Some(port));
    if let Some(user) = given(properties, "user") {
        let _ = url.set_username(user);
    }
    url.set_path(needed("db.database")?);
    for (name, value) in parameters(properties, notes)? {
        url.query_pairs_mut().append_pair(name, value);
    }
    let password = properties.get("password").filter(|text| !text.is_empty());
    Ok((LedgerUrl::Postgres(url.into()), password.map(Into::into)))
}

fn given<'p>(properties: &'p Properties, key: &str) -> Option<&'p str> {
    properties
        .get(key)
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// How the connection is made: what JDBC's keys say, in the words of the driver here.
fn parameters<'p>(
    properties: &'p Properties,
    notes: &mut Notes,
) -> anyhow::Result<Vec<(&'p str, &'p str)>> {
    let mut parameters = Vec::new();
    if let Some(mode) = ssl_mode(properties) {
        parameters.push(("sslmode", mode));
    }
    let mut unknown = Vec::new();
    for (name, value) in properties.iter() {
        let value = value.trim();
        match name {
            // They say where the tables are, which --schema-name does here.
            "currentSchema" | "user" | "password" | "ssl" | "sslmode" | "sslfactory" => {}
            name if name.starts_with("db.") => {}
            _ if value.is_empty() => {}
            name if SAME.contains(&name) => {
                if name == "sslkey" {
                    ensure_pem(value)?;
                }
                parameters.push((name, value));
            }
            name => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        notes.warn(format!(
            "properties of the database that have no effect here: {}",
            unknown.join(", ")
        ));
    }
    Ok(parameters)
}

/// As PostgreSQL's JDBC driver decides it.
fn ssl_mode(properties: &Properties) -> Option<&str> {
    if let Some(mode) = given(properties, "sslmode") {
        return Some(mode);
    }
    let asked = properties.get("ssl").map(str::trim);
    let asked = asked.is_some_and(|ssl| ssl.is_empty() || ssl.eq_ignore_ascii_case("true"));
    let unchecked =
        given(properties, "sslfactory").is_some_and(|f| f.ends_with("NonValidatingFactory"));
    asked.then_some(if unchecked { "require" } else { "verify-full" })
}

/// JDBC takes a key as DER or PKCS#12, the driver here as PEM.
fn ensure_pem(file: &str) -> anyhow::Result<()> {
    // That it cannot be read is told when the connection is made.
    let Ok(bytes) = std::fs::read(file) else {
        return Ok(());
    };
    if bytes.starts_with(b"-----BEGIN") {
        return Ok(());
    }
    bail!(
        "sslkey={file}: is no PEM file; make one with `openssl pkcs8 -inform DER -in {file} -nocrypt \
         -out {file}.pem` (of a .p12 file with `openssl pkcs12 -in {file} -nodes -nocerts -out \
         {file}.pem`) and name that one"
    )
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
                "postgres://me%40home@db.example.org:5432/fhir?sslmode=require&\
                 sslrootcert=%2Fpath%2Fto%2Fpostgres.cert"
                    .to_owned(),
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
        let ssl =
            "sslmode=verify-full\nsslcert=c.pem\nsslkey=k.pem\noptions=-c statement_timeout=9";
        assert!(url(ssl).ends_with(
            "?sslmode=verify-full&sslcert=c.pem&sslkey=k.pem&options=-c+statement_timeout%3D9"
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

    #[test]
    fn a_key_that_is_no_pem_is_refused_with_the_way_to_make_it_one() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("k.pk8");
        std::fs::write(&key, [0x30, 0x82]).unwrap();
        let error = ensure_pem(key.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("openssl pkcs8 -inform DER"), "{error}");
        std::fs::write(&key, "-----BEGIN PRIVATE KEY-----").unwrap();
        assert!(ensure_pem(key.to_str().unwrap()).is_ok());
    }
}
