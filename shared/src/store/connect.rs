//! What a store's URL says of the connection to PostgreSQL: as `libpq` spells it, and what drivers for
//! Java know besides.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::{Place, PostgresOptions, StoreError, StoreUrl};

/// Parameters that name files; the first three as libpq spells them, the others as the driver takes
/// them besides.
const TLS_FILES: [&str; 7] = [
    "sslrootcert",
    "sslcert",
    "sslkey",
    "ssl-root-cert",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
];
/// How texts begin that certificates and keys are kept in.
const PEM: &str = "-----BEGIN";
/// How the bytes of a key begin that is kept as such: a sequence of ASN.1.
const DER: u8 = 0x30;

const KEY_WITH_PASSWORD: &str = "a key with a password cannot be read; write it anew without one by \
     `openssl pkcs8 -inform DER -in KEY -out KEY.pem`";

/// How to connect, and where to.
#[derive(Debug)]
pub struct Connect {
    /// For the driver; its `search_path` is the schema.
    pub how: PgConnectOptions,
    /// The schema's name, as PostgreSQL takes it without quotes.
    pub schema: String,
    /// For messages.
    pub place: Place,
    /// See [`PostgresOptions::password_file`].
    pub password_file: Option<PathBuf>,
}

/// Reads `postgres://user@host:port/database`, with the parameters of libpq that sqlx knows (`sslmode`,
/// `sslrootcert`, `sslcert`, `sslkey`, `options`) and what the Java driver knows besides (`ssl`, keys in DER).
///
/// Fails with [`StoreError::BadUrl`], [`StoreError::BadSchema`], and where files for TLS cannot be used.
pub fn to(url: &str, options: &PostgresOptions) -> Result<Connect, StoreError> {
    let schema = checked_schema(&options.schema)?;
    tls_files_are_there(url)?;
    let shown = || StoreUrl::Postgres(url.to_owned()).to_string();
    let parameters = parameters(url);
    if parameters.iter().any(|(name, _)| name == "sslpassword") {
        // Before the driver, which would log what it does not know.
        return Err(StoreError::BadConnection {
            place: shown(),
            reason: KEY_WITH_PASSWORD.to_owned(),
        });
    }
    let parsed = PgConnectOptions::from_str(&without_ssl(url));
    let mut how = parsed
        .map_err(|_| StoreError::BadUrl { url: shown() })?
        .application_name("stoker")
        .options([("search_path", &schema)]);
    if let Some(password) = &options.password {
        how = how.password(password.expose());
    }
    let how = as_java(&parameters, how);
    let place = Place::Postgres(address(&how));
    Ok(Connect {
        how,
        schema,
        place,
        password_file: options.password_file.clone(),
    })
}

/// As PostgreSQL takes a name without quotes.
fn checked_schema(schema: &str) -> Result<String, StoreError> {
    let folded = schema.to_ascii_lowercase();
    let mut letters = folded.bytes();
    let first = letters
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let others =
        letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'$');
    if first && others && folded.len() <= 63 && !folded.starts_with("pg_") {
        Ok(folded)
    } else {
        Err(StoreError::BadSchema {
            schema: schema.to_owned(),
        })
    }
}

/// The parameters of a URL that this module looks at itself.
fn parameters(url: &str) -> Vec<(String, String)> {
    let parsed = Url::parse(url);
    let pairs = parsed.iter().flat_map(Url::query_pairs);
    pairs
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// The driver's own error for a missing file names none.
fn tls_files_are_there(url: &str) -> Result<(), StoreError> {
    for (name, value) in parameters(url) {
        let known = TLS_FILES.into_iter().find(|known| *known == name);
        // A certificate may stand in the URL itself.
        let Some(parameter) = known.filter(|_| !value.trim().starts_with(PEM)) else {
            continue;
        };
        if let Err(e) = fs::File::open(&value) {
            return Err(StoreError::NoTlsFile {
                parameter,
                path: value.into(),
                reason: e.to_string(),
            });
        }
    }
    Ok(())
}

/// The URL without the one parameter that only [`as_java`] knows.
fn without_ssl(url: &str) -> String {
    let Some((start, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let others = query.split('&').filter(|part| !part.starts_with("ssl="));
    format!("{start}?{}", others.collect::<Vec<_>>().join("&"))
}

/// What properties of the Java driver mean: `ssl=true` wants a server with a certificate for its name,
/// unless `sslmode` says otherwise; a key may be kept as PKCS #8 in DER, the driver's own default.
fn as_java(parameters: &[(String, String)], mut how: PgConnectOptions) -> PgConnectOptions {
    let has_mode = parameters
        .iter()
        .any(|(name, _)| name == "sslmode" || name == "ssl-mode");
    for (name, value) in parameters {
        match name.as_str() {
            "ssl" if value != "false" && !has_mode => how = how.ssl_mode(PgSslMode::VerifyFull),
            "sslkey" | "ssl-key" if !value.trim().starts_with(PEM) => {
                if let Some(pem) = key_as_text(Path::new(value)) {
                    how = how.ssl_client_key_from_pem(pem);
                }
            }
            _ => {}
        }
    }
    how
}

/// A key that is kept in DER, as PEM; none for one that is no such.
fn key_as_text(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    (bytes.first() == Some(&DER)).then(|| {
        let body = STANDARD.encode(bytes);
        format!("{PEM} PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    })
}

fn address(connect: &PgConnectOptions) -> String {
    let database = connect
        .get_database()
        .unwrap_or_else(|| connect.get_username());
    format!(
        "postgres://{}:{}/{database}",
        connect.get_host(),
        connect.get_port()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> PostgresOptions {
        PostgresOptions {
            schema: "stoker".to_owned(),
            password: None,
            password_file: None,
            connections: 2,
        }
    }

    fn connect(url: &str) -> Result<PgConnectOptions, StoreError> {
        to(url, &options()).map(|connect| connect.how)
    }

    #[test]
    fn schema_names_are_taken_as_without_quotes() {
        for (name, taken) in [
            ("fhirbucket", "fhirbucket"),
            ("FHIRBUCKET", "fhirbucket"),
            ("_a1$", "_a1$"),
        ] {
            assert_eq!(checked_schema(name).unwrap(), taken);
        }
        for wrong in [
            "",
            "1a",
            "$a",
            "a b",
            "a\"b",
            "pg_x",
            "PG_x",
            &"x".repeat(64),
        ] {
            assert!(checked_schema(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_of_the_url_stay_and_the_schema_comes_last() {
        let url = "postgres://ann@db/x?options=-c%20search_path%3Dother%20-c%20work_mem%3D8MB";
        let how = connect(url).unwrap();
        let options = how.get_options().unwrap();
        let given = "-c search_path=other -c work_mem=8MB -c search_path=stoker";
        assert!(options.starts_with(given), "{options}");
    }

    #[test]
    fn ssl_of_the_java_driver_is_no_less_than_it_was() {
        let mode = |query: &str| {
            let how = connect(&format!("postgres://ann@db/x?{query}")).unwrap();
            format!("{:?}", how.get_ssl_mode())
        };
        assert_eq!(mode("ssl=true"), "VerifyFull");
        assert_eq!(mode("ssl=true&sslmode=require"), "Require");
        assert_eq!(mode("ssl=false"), "Prefer");
        assert_eq!(mode("ssl=true&application_name=x&ssl=true"), "VerifyFull");
        let error = connect("postgres://ann@db/x?sslpassword=hush")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("openssl") && !error.contains("hush"),
            "{error}"
        );
    }

    #[test]
    fn a_key_in_der_is_read_as_one_in_pem() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("client.pk8");
        fs::write(&key, [DER, 1, 2]).unwrap();
        let pem = "-----BEGIN PRIVATE KEY-----\nMAEC\n-----END PRIVATE KEY-----\n";
        assert_eq!(key_as_text(&key).as_deref(), Some(pem));
        fs::write(&key, pem).unwrap();
        assert_eq!(key_as_text(&key), None);
    }
}
