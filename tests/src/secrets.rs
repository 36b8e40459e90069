//! Secrets that a test gives to a program, and whether the program shows them.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A shorter one is a word that a log may hold for another reason.
const SHORTEST: usize = 8;

/// What the arguments and variables of a command name a password, a token or a private key, also within a URL or as a
/// file, each with what it is called there.
pub(crate) fn given_to(command: &Command) -> Vec<(String, String)> {
    let folder = command.get_current_dir().unwrap_or(Path::new("."));
    let mut named = Vec::new();
    for (name, value) in command.get_envs() {
        let value = value.unwrap_or_default().to_string_lossy();
        named.push((name.to_string_lossy().to_lowercase(), value.into_owned()));
    }
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    for (n, word) in words.iter().enumerate() {
        let (name, value) = match word.split_once('=') {
            Some(both) => both,
            None if word.starts_with("--") => {
                (word.as_ref(), words.get(n + 1).map_or("", |next| next))
            }
            None => continue,
        };
        named.push((name.replace('-', "_"), value.to_owned()));
    }
    let secrets = named.into_iter().flat_map(|(name, value)| {
        let secrets = secrets_of(&name, &value, folder);
        secrets
            .into_iter()
            .map(move |secret| (name.clone(), secret))
    });
    secrets
        .filter(|(_, secret)| secret.len() >= SHORTEST)
        .collect()
}

fn secrets_of(name: &str, value: &str, folder: &Path) -> Vec<String> {
    // A file that a test has not made, or has taken away, holds no secret.
    let read = || fs::read_to_string(folder.join(value)).unwrap_or_default();
    if is_secret(name) {
        return vec![value.to_owned()];
    }
    if name.ends_with("properties") {
        let text = read();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        return pairs
            .filter(|(name, _)| is_secret(name))
            .map(|(_, value)| value.to_owned())
            .collect();
    }
    match name.strip_suffix("_file") {
        None => password_in(value).into_iter().collect(),
        Some(stem) if is_secret(stem) || stem.ends_with("key") => {
            let text = read();
            let lines = text.lines().filter(|line| !line.starts_with("-----"));
            lines.map(str::to_owned).collect()
        }
        Some(_) => Vec::new(),
    }
}

fn is_secret(name: &str) -> bool {
    ["password", "secret_key", "token"]
        .iter()
        .any(|kind| name.ends_with(kind))
}

fn password_in(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (authority, _) = rest.rsplit_once('@')?;
    authority
        .split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// Says which of the secrets a program has written, and where.
pub(crate) fn shown_in(text: &str, secrets: &[(String, String)]) -> Option<String> {
    secrets.iter().find_map(|(name, secret)| {
        let line = text.lines().find(|line| line.contains(secret.as_str()))?;
        Some(format!("the secret given as {name} is shown: {line}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::Service;
    use crate::stoker::Stoker;

    #[test]
    fn secrets_are_found_wherever_they_are_given() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("token", "of-a-file\n");
        write("key.pem", "-----BEGIN-----\nMIGHAgEAMBM\n-----END-----\n");
        write("db.properties", "user=somebody\npassword=of-properties\n");
        let line = "load --fhir-password of-a-flag --server-token-file token --ledger postgres://me:of-a-url@db/x \
            --set kafka.password=of-a-setting --server-client-key-file=key.pem --fhir-token short \
            --db-properties db.properties";
        let mut command = Command::new("stoker");
        command
            .current_dir(dir.path())
            .env("STOKER_S3_SECRET_KEY", "of-a-variable")
            .args(line.split_whitespace());
        let mut secrets: Vec<_> = given_to(&command)
            .into_iter()
            .map(|(_, secret)| secret)
            .collect();
        secrets.sort();
        let expected = [
            "MIGHAgEAMBM",
            "of-a-file",
            "of-a-flag",
            "of-a-setting",
            "of-a-url",
            "of-a-variable",
            "of-properties",
        ];
        assert_eq!(secrets, expected);
    }

    #[tokio::test]
    async fn a_program_that_shows_one_fails_its_test() {
        let user = Stoker::new().unwrap();
        let folder = "no-such-folder";
        let command = [
            "load",
            folder,
            "--to",
            "http://127.0.0.1:9",
            "--fhir-user",
            "me",
            "--fhir-password",
        ];
        let error = user
            .args([&command[..], &[folder]].concat())
            .run()
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("fhir_password is shown"),
            "{error}"
        );
    }

    #[test]
    fn a_service_that_shows_one_fails_its_test() {
        let settings =
            ["ledger=nonsense-secret", "s3.secret_key=nonsense-secret"].map(str::to_owned);
        let mut service = Service::start("bucket-scanner", &settings).unwrap();
        service.wait().unwrap();
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(service)));
        assert!(dropped.is_err());
    }
}
