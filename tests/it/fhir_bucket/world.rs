//! What the recipes need: a FHIR server, the files that they name, and the tool as a process.

use std::fs;
use std::path::PathBuf;

use reqwest::Url;
use stoker_sandbox::{Auth, Sandbox, SandboxConfig};
use stoker_tests::minio::{ACCESS_KEY, Minio, SECRET_KEY};
use stoker_tests::stoker::Stoker;
use stoker_tests::tool::Tool;
use stoker_tests::{keytool, parts, repository};

/// The password of the trust store.
pub(super) const PASSWORD: &str = "change-password";

/// A folder with the files that the recipes name, and what these lead to.
pub(super) struct World {
    pub(super) user: Stoker,
    pub(super) sandbox: Sandbox,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with_resources(0).await
    }

    /// The server holds so many resources that only a reindexing sees.
    pub(super) async fn with_resources(synthetic: u32) -> Self {
        let user = Stoker::new().unwrap();
        let authority = user.home().join("authority.pem");
        let config = SandboxConfig {
            tls: true,
            ca_file: Some(authority.clone()),
            auth: Auth {
                basic: Some(("fhiruser".to_owned(), "geheim-1".into())),
                bearer: None,
            },
            synthetic,
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(config).await.unwrap();
        let store = user.home().join("fhirClientTrustStore.p12");
        keytool::trust_store(&authority, "PKCS12", PASSWORD, &store).unwrap();
        let world = Self { user, sandbox };
        // The endpoint has no slash before it, which is nothing to the Java tool's taste.
        world.write(
            "fhir.properties",
            &format!(
                "fhir.server.host=localhost\nfhir.server.port={}\nfhir.server.user=fhiruser\n\
                 fhir.server.pass=geheim-1\nfhir.server.endpoint=fhir\n\
                 truststore=fhirClientTrustStore.p12\ntruststore.pass={PASSWORD}\nread.timeout=125000\n\
                 connect.timeout=20000\npool.connections.max=400\n",
                world.sandbox.address().port()
            ),
        );
        world.write("logging.properties", &printed("25-logging.properties"));
        fs::create_dir_all(world.path("data/deep")).unwrap();
        world
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.user.home().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The properties of a new database, in a file of this name; gives its URL.
    pub(super) async fn database(&self, name: &str) -> String {
        let database = parts::fresh_database().await.unwrap();
        let url = Url::parse(&database).unwrap();
        let text = format!(
            "db.host={}\ndb.port={}\ndb.database={}\nuser={}\npassword={}\ncurrentSchema=FHIRBUCKET\n",
            url.host_str().unwrap(),
            url.port().unwrap(),
            url.path().trim_start_matches('/'),
            url.username(),
            url.password().unwrap_or_default(),
        );
        self.write(name, &text);
        database
    }

    pub(super) fn object_store(&self, minio: &Minio) {
        let text = format!(
            "cos.api.key={ACCESS_KEY}\ncos.srvinstid={SECRET_KEY}\ncos.endpoint.url={}\n\
             cos.location=us-east-1\ncos.bucket.name=\ncos.credential.ibm=N\ncos.max.keys=2\n",
            minio.endpoint()
        );
        self.write("cos.properties", &text);
    }

    /// 20 files of one Bundle of a Patient with an Observation, and one that is no JSON file.
    pub(super) fn bundles(&self) {
        for n in 0..20 {
            let folder = if n % 2 == 0 { "data" } else { "data/deep" };
            self.write(&format!("{folder}/Ann_Example_{n}.json"), &bundle(n));
        }
        self.write("data/other.ndjson", &patients(0..5));
    }

    pub(super) fn patients(&self) -> usize {
        self.sandbox.resources("Patient").len()
    }

    /// What a recipe says, run to its end; gives its exit code and what it wrote.
    pub(super) async fn run(&self, recipe: &str) -> (i32, String) {
        let run = self.user.args(self.args(recipe)).run().await.unwrap();
        (run.code, run.stdout + &run.stderr)
    }

    /// The same, left running.
    pub(super) fn start(&self, recipe: &str) -> Tool {
        self.start_with(self.args(recipe), recipe)
    }

    pub(super) fn start_with(&self, args: Vec<String>, log: &str) -> Tool {
        Tool::start(&self.user, args, log).unwrap()
    }

    pub(super) fn args(&self, recipe: &str) -> Vec<String> {
        let data = self.path("data").display().to_string();
        let text = printed(recipe).replace("\\\n", " ");
        let line = text.lines().find_map(|line| line.strip_prefix("java "));
        let words = line.unwrap().split_whitespace();
        let words = words.map(|word| word.replace("/path/to/synthea/data", &data));
        ["fhir-bucket".to_owned()]
            .into_iter()
            .chain(words)
            .collect()
    }
}

/// A recipe or a file of the README.
pub(super) fn printed(name: &str) -> String {
    let folder = repository::root().join("tests/seeds/fhir-bucket");
    fs::read_to_string(folder.join(name)).unwrap()
}

pub(super) fn patients(numbers: std::ops::Range<usize>) -> String {
    let line = |n| {
        format!(
            "{{\"resourceType\":\"Patient\",\"id\":\"p{n}\",\"name\":[{{\"family\":\"Núñez-{n}\"}}]}}\n"
        )
    };
    numbers.map(line).collect()
}

pub(super) fn bundle(n: usize) -> String {
    format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
            {{"fullUrl":"urn:uuid:00000000-0000-0000-0000-{n:012}","resource":{{"resourceType":"Patient"}},
              "request":{{"method":"POST","url":"Patient"}}}},
            {{"resource":{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},
                "subject":{{"reference":"urn:uuid:00000000-0000-0000-0000-{n:012}"}}}},
              "request":{{"method":"POST","url":"Observation"}}}}]}}"#
    )
}
