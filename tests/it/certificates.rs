//! Services, and people at the command line, under mutual TLS with tokens, that change while all of them run.

use std::fs;
use std::path::{Path, PathBuf};

use stoker_sandbox::{Sandbox, SandboxConfig};
use stoker_tests::certificates::Authority;
use stoker_tests::services::Service;
use stoker_tests::stoker::{Run, Stoker};
use tempfile::TempDir;

/// The files that are mounted into all of them.
struct Secrets(TempDir);

impl Secrets {
    fn new() -> Self {
        let secrets = Self(TempDir::new().unwrap());
        secrets.renew("first");
        secrets
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Another authority, all it signs, and another token.
    fn renew(&self, token: &str) {
        let authority = Authority::new().unwrap();
        for (file, name) in [("server", "localhost"), ("worker", "worker"), ("me", "me")] {
            let (certificate, key) = authority.sign(name).unwrap();
            fs::write(self.at(&format!("{file}.crt")), certificate.pem()).unwrap();
            fs::write(self.at(&format!("{file}.key")), key.serialize_pem()).unwrap();
        }
        authority.write(&self.at("ca.crt")).unwrap();
        fs::write(self.at("token"), format!("{token}\n")).unwrap();
    }

    fn settings(&self, keys: &[(&str, &str)]) -> Vec<String> {
        let setting = |&(key, file): &(&str, &str)| format!("{key}={}", self.at(file).display());
        keys.iter().map(setting).collect()
    }

    fn scanner(&self) -> Service {
        let mut settings = self.settings(&[
            ("service.grpc.tls.cert_file", "server.crt"),
            ("service.grpc.tls.key_file", "server.key"),
            ("service.grpc.tls.client_ca_file", "ca.crt"),
            ("service.grpc.token_file", "token"),
        ]);
        settings.push("ledger=none".to_owned());
        Service::start("bucket-scanner", &settings).unwrap()
    }

    fn worker(&self, url: &str) -> Service {
        let mut settings = self.settings(&[
            ("ledger.ca_file", "ca.crt"),
            ("ledger.client_cert_file", "worker.crt"),
            ("ledger.client_key_file", "worker.key"),
            ("ledger.token_file", "token"),
        ]);
        settings.push(format!("ledger.url={url}"));
        Service::start("loader-worker", &settings).unwrap()
    }

    /// What a person adds to `--server`.
    fn flags(&self) -> Vec<String> {
        [
            ("--server-ca-file", "ca.crt"),
            ("--server-token-file", "token"),
            ("--server-client-cert-file", "me.crt"),
            ("--server-client-key-file", "me.key"),
        ]
        .into_iter()
        .flat_map(|(flag, file)| [flag.to_owned(), self.at(file).display().to_string()])
        .collect()
    }
}

async fn load(user: &Stoker, folder: &Path, to: &str, url: &str, flags: &[String]) -> Run {
    let folder = folder.display().to_string();
    let words = ["load", &folder, "--to", to, "--server", url];
    let words = words.into_iter().chain(flags.iter().map(String::as_str));
    user.args(words).run().await.unwrap()
}

#[tokio::test]
async fn all_show_certificates_and_tokens_that_change() {
    stoker_shared::tls::install_crypto_provider();
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let (secrets, user) = (Secrets::new(), Stoker::new().unwrap());
    let mut scanner = secrets.scanner();
    scanner.listening().await.unwrap();
    let url = scanner
        .url()
        .replace("http://127.0.0.1", "https://localhost");
    let worker = secrets.worker(&url);
    let data = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let folder = data.path().join(round.to_string());
        fs::create_dir(&folder).unwrap();
        let patient = format!(r#"{{"resourceType":"Patient","id":"p{round}"}}"#);
        fs::write(folder.join("patients.ndjson"), patient).unwrap();
        match round {
            0 => {}
            // The worker goes on over the connection that it has, with the new token.
            1 => secrets.renew("second"),
            // It has to make a new one.
            _ => {
                scanner.kill().unwrap();
                scanner.start_again().unwrap();
                scanner.listening().await.unwrap();
            }
        }
        let run = load(&user, &folder, &sandbox.base_url(), &url, &secrets.flags()).await;
        assert_eq!(
            run.code,
            0,
            "{round}: {run:#?}\n{}\n{}",
            scanner.log(),
            worker.log()
        );
        assert_eq!(sandbox.resources("Patient").len(), round + 1, "{run:#?}");
    }
    let flags = secrets.flags();
    for (flags, words) in [
        (&flags[..4], "cannot be asked"),
        (&flags[..6], "go together"),
        (
            &[&flags[..2], &flags[4..]].concat()[..],
            "bearer token is needed",
        ),
    ] {
        let run = load(&user, data.path(), &sandbox.base_url(), &url, flags).await;
        assert_eq!(run.code, 1, "{run:#?}");
        assert!(run.stderr.contains(words), "{words}: {run:#?}");
    }
    let status = ["index", "status", "--server", &url].map(str::to_owned);
    let run = user
        .args([&status[..], &flags].concat())
        .run()
        .await
        .unwrap();
    assert!(run.stderr.contains("is no remote indexer"), "{run:#?}");
    let list = ["reindex", "list", "--server", &url].map(str::to_owned);
    let run = user.args([&list[..], &flags].concat()).run().await.unwrap();
    assert!(run.stderr.contains("is no reindex-driver"), "{run:#?}");
}
