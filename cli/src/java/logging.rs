//! Logs as a `java.util.logging` properties file says.

use std::path::Path;

use stoker_shared::properties::Properties;
use stoker_shared::telemetry::{self, LogFile, LogFormat, TelemetryConfig};

use super::notes::Notes;
use super::rotating::{RotatingFile, Rotation};
use crate::Global;

/// Where each kind of log goes, with levels as [`stoker_shared::telemetry::TelemetryConfig`] takes them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Logging {
    /// To standard error.
    pub(crate) console: String,
    /// To files.
    pub(crate) files: Option<(String, Rotation)>,
}

/// A part of a Java tool whose level can be set, and the module that does its work here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logger {
    /// The package.
    pub(crate) java: &'static str,
    /// The module.
    pub(crate) module: &'static str,
    /// Where the module writes at DEBUG what the Java tool writes at INFO.
    pub(crate) at_info: Option<&'static str>,
}

impl Logger {
    pub(crate) const fn new(java: &'static str, module: &'static str) -> Self {
        Self {
            java,
            module,
            at_info: None,
        }
    }
}

impl Logging {
    /// Reads the file; without one, or when it cannot be read, it is as Java has it by default.
    pub(crate) fn read(file: Option<&Path>, loggers: &[Logger], notes: &mut Notes) -> Self {
        let read = file.map(Properties::read).transpose();
        let properties = read.unwrap_or_else(|error| {
            notes.warn(format!("{error}; the log goes to standard error only"));
            None
        });
        Self::of(&properties.unwrap_or_default(), loggers, notes)
    }

    fn of(properties: &Properties, loggers: &[Logger], notes: &mut Notes) -> Self {
        let handlers = properties
            .get("handlers")
            .unwrap_or("java.util.logging.ConsoleHandler");
        let mut logging = Self {
            console: "off".to_owned(),
            files: None,
        };
        for handler in handlers.split([',', ' ']).filter(|name| !name.is_empty()) {
            match handler {
                "java.util.logging.ConsoleHandler" => {
                    logging.console = levels(properties, handler, Level::Info, loggers, notes);
                }
                "java.util.logging.FileHandler" => {
                    let levels = levels(properties, handler, Level::Trace, loggers, notes);
                    logging.files = Some((levels, rotation(properties, notes)));
                }
                other => notes.warn(format!("log handler {other}: there is none here")),
            }
        }
        logging
    }

    /// Starts the log; where its files cannot be written, that is said, and it goes to standard error.
    ///
    /// `service` is what traces call the process. Flags of the command line decide how standard error looks.
    pub(crate) fn start(
        self,
        service: &'static str,
        loggers: &[Logger],
        global: &Global,
        notes: &mut Notes,
    ) -> anyhow::Result<Log> {
        let opened = self.files.map(|(level, rotation)| {
            let file = RotatingFile::open(rotation)?;
            Ok::<_, anyhow::Error>(LogFile { level, file })
        });
        let (console, file) = match opened.transpose() {
            Ok(file) => (self.console, file),
            Err(error) => {
                notes.warn(format!("{error:#}"));
                let default = Self::read(None, loggers, notes);
                (default.console, None)
            }
        };
        let in_files = file.is_some();
        let guard = telemetry::init_with_file(&console_logs(console, global), service, file)?;
        notes.log();
        Ok(Log { guard, in_files })
    }
}

/// A log that has been started.
#[derive(Debug)]
pub(crate) struct Log {
    guard: telemetry::Guard,
    in_files: bool,
}

impl Log {
    /// Ends it. The caller tells standard error of an error; here it is written to the files.
    pub(crate) fn end<T>(self, ended: &anyhow::Result<T>) {
        if let (Err(error), true) = (ended, self.in_files) {
            tracing::error!("{error:#}");
        }
        self.guard.shutdown();
    }
}

/// The log on standard error, as lines to read unless asked otherwise.
fn console_logs(levels: String, global: &Global) -> TelemetryConfig {
    let levels = match (global.quiet, global.verbose) {
        (true, _) => "error".to_owned(),
        (false, 0) => levels,
        (false, _) => "debug".to_owned(),
    };
    TelemetryConfig {
        log_format: if global.json {
            LogFormat::Json
        } else {
            LogFormat::Human
        },
        ..TelemetryConfig::at_level(&levels)
    }
}

/// From the quietest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// Java's name of a level, or its number.
    fn parse(text: &str) -> Option<Self> {
        let level = match text.trim().to_ascii_uppercase().as_str() {
            "OFF" => Self::Off,
            "SEVERE" => Self::Error,
            "WARNING" => Self::Warn,
            "INFO" => Self::Info,
            "CONFIG" | "FINE" => Self::Debug,
            "FINER" | "FINEST" | "ALL" => Self::Trace,
            number => match number.parse::<i32>().ok()? {
                i32::MAX => Self::Off,
                901.. => Self::Error,
                801..=900 => Self::Warn,
                701..=800 => Self::Info,
                401..=700 => Self::Debug,
                _ => Self::Trace,
            },
        };
        Some(level)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The level of everything and of single modules that a handler lets through.
fn levels(
    properties: &Properties,
    handler: &str,
    default: Level,
    loggers: &[Logger],
    notes: &mut Notes,
) -> String {
    let mut level = |key: &str| {
        let text = properties.get(key)?;
        let level = Level::parse(text);
        if level.is_none() {
            notes.warn(format!(
                "{key}={text}: is no level; it is left as it is by default"
            ));
        }
        level
    };
    let most = level(&format!("{handler}.level")).unwrap_or(default);
    let root = level(".level").unwrap_or(Level::Info).min(most);
    let mut levels = root.name().to_owned();
    for logger in loggers {
        // The longest of the names that the logger's begins with counts, its own first.
        let names = std::iter::successors(Some(logger.java), |name| Some(name.rsplit_once('.')?.0));
        let set = names
            .map(|name| format!("{name}.level"))
            .find_map(|key| level(&key));
        let set = set.map_or(root, |set| set.min(most));
        if set != root {
            levels.extend([",", logger.module, "=", set.name()]);
        }
        if let Some(target) = logger.at_info.filter(|_| set >= Level::Info) {
            levels.extend([",", target, "=", set.max(Level::Debug).name()]);
        }
    }
    levels
}

fn rotation(properties: &Properties, notes: &mut Notes) -> Rotation {
    let key = |name: &str| format!("java.util.logging.FileHandler.{name}");
    let mut number = |name: &str, default: u64| {
        let Some(text) = properties.get(&key(name)) else {
            return default;
        };
        text.trim().parse().unwrap_or_else(|_| {
            notes.warn(format!(
                "{}={text}: is no whole number; it is {default}",
                key(name)
            ));
            default
        })
    };
    let (limit, count) = (number("limit", 0), number("count", 1));
    Rotation {
        pattern: properties
            .get(&key("pattern"))
            .unwrap_or("%h/java%u.log")
            .to_owned(),
        limit,
        count: usize::try_from(count).unwrap_or(usize::MAX).max(1),
        append: properties
            .get(&key("append"))
            .is_some_and(|text| text.eq_ignore_ascii_case("true")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGGERS: [Logger; 4] = [
        Logger::new("org.linuxforhealth.fhir.bucket.scanner", "bucket_scanner"),
        Logger {
            java: "org.linuxforhealth.fhir.bucket.reader",
            module: "loader_worker",
            at_info: Some("loader_worker::completed"),
        },
        Logger::new("org.linuxforhealth.fhir.database", "sqlx"),
        Logger::new("com.ibm.cos", "aws_sdk_s3"),
    ];

    fn of(text: &str) -> (Logging, Notes) {
        let mut notes = Notes::default();
        let properties = Properties::parse(text.as_bytes()).unwrap();
        (Logging::of(&properties, &LOGGERS, &mut notes), notes)
    }

    #[test]
    fn without_a_file_the_console_has_what_java_shows() {
        let expected = Logging {
            console: "info,loader_worker::completed=debug".to_owned(),
            files: None,
        };
        let mut notes = Notes::default();
        assert_eq!(Logging::read(None, &LOGGERS, &mut notes), expected);
        let file = Path::new("/no/logging.properties");
        let missing = Logging::read(Some(file), &LOGGERS, &mut notes);
        assert_eq!(missing, expected);
        assert!(notes.warnings()[0].contains("/no/logging.properties: cannot be read"));
    }

    #[test]
    fn handlers_levels_and_files_are_honoured() {
        let (logging, notes) = of(
            "handlers=java.util.logging.ConsoleHandler,java.util.logging.FileHandler\n.level=INFO\n\
             java.util.logging.ConsoleHandler.level=WARNING\n\
             java.util.logging.ConsoleHandler.formatter=org.example.LogFormatter\n\
             java.util.logging.FileHandler.level=FINE\njava.util.logging.FileHandler.limit=50000000\n\
             java.util.logging.FileHandler.count=20\njava.util.logging.FileHandler.append=true\n\
             java.util.logging.FileHandler.pattern=fhirbucket-%u-%g.log\n\
             org.linuxforhealth.fhir.bucket.scanner.level=FINEST\n\
             org.linuxforhealth.fhir.database.level=SEVERE\n",
        );
        assert_eq!(logging.console, "warn,sqlx=error");
        let (levels, rotation) = logging.files.unwrap();
        assert_eq!(
            levels,
            "info,bucket_scanner=debug,loader_worker::completed=debug,sqlx=error"
        );
        let expected = Rotation {
            pattern: "fhirbucket-%u-%g.log".to_owned(),
            limit: 50_000_000,
            count: 20,
            append: true,
        };
        assert_eq!(rotation, expected);
        assert!(notes.warnings().is_empty(), "{notes:?}");
    }

    #[test]
    fn a_level_of_a_package_holds_for_what_is_in_it() {
        let (logging, _) = of("org.linuxforhealth.level=SEVERE\n\
                               org.linuxforhealth.fhir.bucket.reader.level=INFO\n");
        let levels: Vec<&str> = logging.console.split(',').collect();
        assert!(levels.contains(&"bucket_scanner=error"), "{levels:?}");
        assert!(levels.contains(&"sqlx=error"), "{levels:?}");
        assert!(!levels.contains(&"aws_sdk_s3=error"), "{levels:?}");
        let (logging, _) = of("org.linuxforhealth.fhir.bucket.reader.level=WARNING\n");
        assert_eq!(logging.console, "info,loader_worker=warn");
    }

    #[test]
    fn levels_have_names_and_numbers() {
        for (text, expected) in [
            ("SEVERE", Level::Error),
            ("warning", Level::Warn),
            ("INFO", Level::Info),
            ("CONFIG", Level::Debug),
            ("FINE", Level::Debug),
            ("FINER", Level::Trace),
            ("FINEST", Level::Trace),
            ("ALL", Level::Trace),
            ("OFF", Level::Off),
            ("1000", Level::Error),
            ("900", Level::Warn),
            ("800", Level::Info),
            ("500", Level::Debug),
            ("300", Level::Trace),
        ] {
            assert_eq!(Level::parse(text), Some(expected), "{text}");
        }
        assert_eq!(Level::parse("LOUD"), None);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let (logging, notes) = of("handlers=java.util.logging.SocketHandler\n.level=LOUD\n");
        assert_eq!((logging.console.as_str(), logging.files), ("off", None));
        assert_eq!(notes.warnings().len(), 1, "{notes:?}");
        let (_, notes) = of(".level=LOUD\n");
        assert!(notes.warnings()[0].contains(".level=LOUD"), "{notes:?}");
    }
}
