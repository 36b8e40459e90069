//! The options of pg_basebackup. <https://www.postgresql.org/docs/current/app-pgbasebackup.html>

use serde::Serialize;

/// How files are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compression {
    /// By what.
    pub method: Method,
    /// Its level; none: its own default.
    pub level: Option<i32>,
}

/// What files are compressed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// They are not.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) folder: String,
    pub(super) host: Option<String>,
    pub(super) port: Option<String>,
    pub(super) user: Option<String>,
    pub(super) connection: Option<String>,
    pub(super) compression: Compression,
    pub(super) max_rate_kb: Option<u32>,
    pub(super) fast_checkpoint: bool,
    is_tar: bool,
}

/// Short and long names of options that take a value.
const WITH_VALUE: [(char, &str); 17] = [
    ('D', "pgdata"),
    ('F', "format"),
    ('r', "max-rate"),
    ('t', "target"),
    ('T', "tablespace-mapping"),
    ('X', "wal-method"),
    ('Z', "compress"),
    ('c', "checkpoint"),
    ('i', "incremental"),
    ('l', "label"),
    ('S', "slot"),
    ('d', "dbname"),
    ('h', "host"),
    ('p', "port"),
    ('s', "status-interval"),
    ('U', "username"),
    (' ', "manifest-checksums"),
];

/// Those that take none.
const WITHOUT: [(char, &str); 14] = [
    ('R', "write-recovery-conf"),
    ('z', "gzip"),
    ('C', "create-slot"),
    ('n', "no-clean"),
    ('N', "no-sync"),
    ('P', "progress"),
    ('v', "verbose"),
    ('w', "no-password"),
    ('W', "password"),
    (' ', "no-slot"),
    (' ', "no-manifest"),
    (' ', "no-estimate-size"),
    (' ', "no-verify-checksums"),
    (' ', "manifest-force-encode"),
];

/// Fails with why Stoker does not do what is asked.
pub(super) fn read(words: &[String]) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let (name, given) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            if has(&WITH_VALUE, name) {
                let value = given.or_else(|| words.next()).ok_or(no_value(name))?;
                asked.take(name, value)?;
            } else {
                asked.take(known(has(&WITHOUT, name), name, word)?, "")?;
            }
        } else if let Some(letters) = word.strip_prefix('-') {
            cluster(&mut asked, letters, word, &mut words)?;
        } else {
            return Err("pg_basebackup takes nothing but options".to_owned());
        }
    }
    if asked.folder.is_empty() {
        return Err("it does not say where to (-D)".to_owned());
    }
    if !asked.is_tar {
        return Err(
            "it makes a folder of single files; with -Ft, Stoker makes the same tar files"
                .to_owned(),
        );
    }
    Ok(asked)
}

/// Short options in one word, of which the last may take a value.
fn cluster<'w>(
    asked: &mut Asked,
    letters: &'w str,
    word: &str,
    words: &mut impl Iterator<Item = &'w str>,
) -> Result<(), String> {
    for (at, letter) in letters.char_indices() {
        if let Some((_, name)) = WITH_VALUE.iter().find(|(short, _)| *short == letter) {
            let rest = &letters[at + letter.len_utf8()..];
            let value = Some(rest).filter(|rest| !rest.is_empty());
            let value = value.or_else(|| words.next()).ok_or(no_value(name))?;
            return asked.take(name, value);
        }
        let without = WITHOUT.iter().find(|(short, _)| *short == letter);
        let name = without.map(|(_, name)| *name);
        asked.take(known(name.is_some(), name.unwrap_or_default(), word)?, "")?;
    }
    Ok(())
}

fn has(options: &[(char, &str)], name: &str) -> bool {
    options.iter().any(|(_, long)| *long == name)
}

fn known<'n>(is_known: bool, name: &'n str, word: &str) -> Result<&'n str, String> {
    is_known
        .then_some(name)
        .ok_or(format!("pg_basebackup has no option {word}"))
}

fn no_value(name: &str) -> String {
    format!("nothing follows pg_basebackup's --{name}")
}

impl Asked {
    fn take(&mut self, name: &str, value: &str) -> Result<(), String> {
        let text = || Some(value.to_owned());
        match name {
            "pgdata" => value.clone_into(&mut self.folder),
            "format" => self.is_tar = matches!(value, "t" | "tar"),
            "host" => self.host = text(),
            "port" => self.port = text(),
            "username" => self.user = text(),
            "dbname" => self.connection = text(),
            "gzip" => self.compression.method = Method::Gzip,
            "compress" => self.compression = compression(value)?,
            "max-rate" => self.max_rate_kb = Some(rate(value)?),
            "checkpoint" => self.fast_checkpoint = value == "fast",
            "wal-method" if matches!(value, "n" | "none") => {
                return Err("it leaves out the log (-X none), so that its backups do not stand on their own".to_owned());
            }
            "target" if value != "client" => {
                return Err("it has the server keep the backup (--target)".to_owned());
            }
            "write-recovery-conf" => {
                return Err("it makes a standby (-R), not a backup".to_owned());
            }
            "password" => return Err("it asks for a password (-W)".to_owned()),
            "incremental" | "tablespace-mapping" => {
                return Err(format!("Stoker does not do --{name}"));
            }
            // How it is done, and what is shown meanwhile.
            _ => {}
        }
        Ok(())
    }
}

/// `[client-|server-]METHOD[:DETAIL]`, or a level.
fn compression(text: &str) -> Result<Compression, String> {
    let unknown = || format!("Stoker does not compress by {text:?}; it does by gzip and zstd");
    if let Ok(level) = text.parse::<i32>() {
        let method = if level == 0 {
            Method::None
        } else {
            Method::Gzip
        };
        let level = Some(level).filter(|level| *level > 0);
        return Ok(Compression { method, level });
    }
    let (method, detail) = text.split_once(':').unwrap_or((text, ""));
    let method = method
        .trim_start_matches("client-")
        .trim_start_matches("server-");
    let method = match method {
        "none" => Method::None,
        "gzip" => Method::Gzip,
        "zstd" => Method::Zstd,
        _ => return Err(unknown()),
    };
    let level = detail
        .split(',')
        .find_map(|part| part.strip_prefix("level=").unwrap_or(part).parse().ok());
    Ok(Compression { method, level })
}

/// Kilobytes, or with M megabytes, a second.
fn rate(text: &str) -> Result<u32, String> {
    let bad = || format!("{text:?} is no rate; pg_basebackup takes 32k to 1024M");
    let (number, factor) = match text.strip_suffix('M') {
        Some(number) => (number, 1024),
        None => (text.strip_suffix('k').unwrap_or(text), 1),
    };
    let number: u32 = number.parse().map_err(|_| bad())?;
    let rate = number.checked_mul(factor).ok_or_else(bad)?;
    (32..=1024 * 1024)
        .contains(&rate)
        .then_some(rate)
        .ok_or_else(bad)
}
