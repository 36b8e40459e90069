//! PostgreSQL as the properties of its JDBC driver name it, in the words of the driver here.

use anyhow::{Context as _, bail};
use stoker_shared::properties::Properties;
use stoker_shared::secret::Secret;
use url::Url;

use super::notes::Notes;

/// Keys of JDBC that a connection here knows by the same name.
const SAME: [&str; 4] = ["sslrootcert", "sslcert", "sslkey", "options"];

/// The URL, without the password, and the password.
pub(crate) fn postgresql(
    properties: &Properties,
    notes: &mut Notes,
) -> anyhow::Result<(Url, Option<Secret>)> {
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
    Ok((url, password.map(Into::into)))
}

/// A value that is not blank.
pub(crate) fn given<'p>(properties: &'p Properties, key: &str) -> Option<&'p str> {
    properties
        .get(key)
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

/// A name of SQL: in lower case, unless it is in double quotes.
pub(crate) fn folded(name: &str) -> String {
    let quoted = name.strip_prefix('"').and_then(|n| n.strip_suffix('"'));
    quoted.map_or_else(|| name.to_lowercase(), str::to_owned)
}

/// How the connection is made: what JDBC's keys say, in the words of the driver here.
fn parameters<'p>(
    properties: &'p Properties,
    notes: &mut Notes,
) -> anyhow::Result<Vec<(&'p str, &'p str)>> {
    let mut parameters = Vec::new();
    let mode = ssl_mode(properties);
    if let Some(mode) = mode {
        parameters.push(("sslmode", mode));
    }
    let verifies = mode.is_some_and(|mode| mode.starts_with("verify"));
    let mut unknown = Vec::new();
    for (name, value) in properties.iter() {
        let value = value.trim();
        match name {
            // Where the tables are is for the tool to say.
            "currentSchema" | "user" | "password" | "ssl" | "sslmode" | "sslfactory" => {}
            name if name.starts_with("db.") => {}
            _ if value.is_empty() => {}
            "sslrootcert" if !verifies => notes.info(format!(
                "sslrootcert={value}: not read, as in Java, unless sslmode is verify-ca or verify-full"
            )),
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
