//! What stands before the options of the Java tool: arguments of the `java` command.

use std::path::PathBuf;

use stoker_shared::secret::Secret;

/// What the arguments of `java` say that matters here.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Jvm {
    /// `java.util.logging.config.file`.
    pub(crate) logging: Option<PathBuf>,
    /// `javax.net.ssl.trustStore`, for servers that have no trust store of their own.
    pub(crate) trust_store: Option<PathBuf>,
    /// `javax.net.ssl.trustStorePassword`.
    pub(crate) trust_store_password: Option<Secret>,
    /// System properties that mean nothing here.
    pub(crate) ignored: Vec<String>,
}

impl Jvm {
    /// Takes the arguments that are `java`'s own; gives what remains.
    pub(crate) fn take(mut args: &[String]) -> (Self, &[String]) {
        let mut jvm = Self::default();
        if let [java, rest @ ..] = args
            && (java == "java" || java.ends_with("/java"))
        {
            args = rest;
        }
        loop {
            args = match args {
                [flag, _, rest @ ..] if takes_next(flag) => rest,
                [flag, rest @ ..] if flag.starts_with("-D") => {
                    jvm.property(&flag[2..]);
                    rest
                }
                [flag, rest @ ..] if is_flag(flag) => rest,
                // The class whose main is run.
                [class, rest @ ..] if !class.starts_with('-') && class.ends_with(".Main") => rest,
                rest => return (jvm, rest),
            }
        }
    }

    fn property(&mut self, text: &str) {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "java.util.logging.config.file" => self.logging = Some(value.into()),
            "javax.net.ssl.trustStore" => self.trust_store = Some(value.into()),
            "javax.net.ssl.trustStorePassword" => self.trust_store_password = Some(value.into()),
            // The kind of a store is seen from its content.
            "javax.net.ssl.trustStoreType" => {}
            name => self.ignored.push(name.to_owned()),
        }
    }
}

fn takes_next(flag: &str) -> bool {
    ["-jar", "-cp", "-classpath", "--class-path"].contains(&flag)
}

fn is_flag(flag: &str) -> bool {
    let known = [
        "-server",
        "-ea",
        "-esa",
        "-javaagent:",
        "-agentlib:",
        "-verbose",
    ];
    flag.starts_with("-X") || known.iter().any(|known| flag.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(line: &str) -> (Jvm, Vec<String>) {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (jvm, rest) = Jvm::take(&args);
        (jvm, rest.to_vec())
    }

    #[test]
    fn arguments_of_java_are_taken_or_passed_over() {
        let (jvm, rest) = take(
            "java -Xmx4g -Djava.util.logging.config.file=a/logging.properties -Dx.y=1 -Dflag \
             -Djavax.net.ssl.trustStore=t.p12 -Djavax.net.ssl.trustStorePassword=geheim \
             -jar /opt/fhir-bucket-5.1-cli.jar --no-scan -Dnot.mine",
        );
        assert_eq!(jvm.logging, Some("a/logging.properties".into()));
        assert_eq!(jvm.trust_store, Some("t.p12".into()));
        assert_eq!(jvm.trust_store_password, Some("geheim".into()));
        assert_eq!(jvm.ignored, ["x.y", "flag"]);
        assert_eq!(rest, ["--no-scan", "-Dnot.mine"]);
        assert!(!format!("{jvm:?}").contains("geheim"));
    }

    #[test]
    fn a_class_path_and_a_class_are_passed_over() {
        let (jvm, rest) = take("-cp a.jar:b.jar org.example.app.Main --bucket b");
        assert_eq!(
            (jvm, rest.join(" ")),
            (Jvm::default(), "--bucket b".to_owned())
        );
        let (_, rest) = take("--bucket b");
        assert_eq!(rest, ["--bucket", "b"]);
    }
}
