//! `stoker retry` killed around the moment at which the ledger strikes what was taken.

use std::fs;

use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use stoker_sandbox::{FaultRule, Sandbox};
use stoker_tests::parts;
use stoker_tests::services::Service;
use stoker_tests::stoker::{Run, Stoker};
use stoker_tests::tool::Tool;

use crate::poison::{refuses_poison, sandbox_with};

const INPUTS: usize = 30;
/// Of these, what the server refuses ever after.
const VENOM: usize = 10;

/// Whoever strikes errors waits half-way for who holds the advisory lock.
const WAITS: &str = "CREATE FUNCTION wait_for_the_test() RETURNS trigger LANGUAGE plpgsql AS \
       $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$; \
     CREATE TRIGGER waits BEFORE DELETE ON fhirbucket.resource_bundle_errors \
       FOR EACH STATEMENT EXECUTE FUNCTION wait_for_the_test(); \
     SELECT pg_advisory_lock(1)";
const WAITING: &str = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = \
     (SELECT oid FROM pg_database WHERE datname = current_database())";
const LISTED: &str = "SELECT COUNT(*) FROM fhirbucket.resource_bundle_errors";

/// A user with inputs in quarantine, of which the server takes all but some by now.
struct World {
    user: Stoker,
    sandbox: Sandbox,
    ledger: String,
    conn: tokio::sync::Mutex<PgConnection>,
}

impl World {
    async fn new() -> Self {
        let sandbox = sandbox_with(vec![refuses_poison()]).await;
        let user = Stoker::new().unwrap();
        let ledger = parts::fresh_database().await.unwrap();
        let post = |n| {
            let venom = if n < VENOM { "venom" } else { "" };
            format!("{{\"resourceType\":\"Basic\",\"code\":{{\"text\":\"poison {venom} {n}\"}}}}\n")
        };
        let posts: String = (0..INPUTS).map(post).collect();
        fs::write(user.home().join("b.ndjson"), posts).unwrap();
        let conn = PgConnection::connect(&ledger).await.unwrap();
        let world = Self {
            user,
            sandbox,
            ledger,
            conn: conn.into(),
        };
        let base = world.sandbox.base_url();
        let load = world.run(&["load", "b.ndjson", "--to", &base]).await;
        assert_eq!(load.code, 2, "{load:#?}");
        fs::write(
            world.user.home().join("rejected.ndjson"),
            world.errors().await,
        )
        .unwrap();
        let refuses = FaultRule {
            body_contains: Some("venom".to_owned()),
            ..refuses_poison()
        };
        world.sandbox.faults().set(vec![refuses]).unwrap();
        world.conn.lock().await.execute(WAITS).await.unwrap();
        world
    }

    async fn run(&self, args: &[&str]) -> Run {
        let ledger = ["--ledger", &self.ledger];
        self.user
            .args([args, &ledger].concat())
            .run()
            .await
            .unwrap()
    }

    /// What the ledger has in quarantine.
    async fn errors(&self) -> String {
        let errors = self
            .run(&["jobs", "errors", "1", "--inputs", "--json"])
            .await;
        assert_eq!(errors.code, 0, "{errors:#?}");
        errors.stdout
    }

    fn retry(&self, ledger: [&str; 2]) -> Tool {
        let base = self.sandbox.base_url();
        let retry = ["retry", "rejected.ndjson", "--to", &base, "--json"];
        Tool::start(&self.user, [&retry[..], &ledger].concat(), "retry").unwrap()
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let mut conn = self.conn.lock().await;
        sqlx::query_scalar(sql).fetch_one(&mut *conn).await.unwrap()
    }

    async fn let_it_go_on(&self) {
        let unlock = "SELECT pg_advisory_unlock(1)";
        self.conn.lock().await.execute(unlock).await.unwrap();
    }

    fn kept(&self) -> String {
        fs::read_to_string(self.user.home().join("rejected.ndjson")).unwrap()
    }

    /// The same command once more brings it to its end, and sends nothing again that was taken.
    async fn ends_well(&self, struck_before: bool) {
        let base = self.sandbox.base_url();
        let retry = ["retry", "rejected.ndjson", "--to", &base, "--json"];
        let again = self.run(&retry).await;
        assert_eq!(again.code, 2, "{again:#?}");
        let said: Value = serde_json::from_str(&again.stdout).unwrap();
        let struck = if struck_before { 0 } else { INPUTS - VENOM };
        assert_eq!(said["settled"], struck, "{said:#}");
        assert_eq!(said["sent"], VENOM, "{said:#}");
        assert_eq!(self.sandbox.resources("Basic").len(), INPUTS - VENOM);
        for left in [self.kept(), self.errors().await] {
            assert_eq!(left.lines().count(), VENOM, "{left}");
            assert!(left.lines().all(|line| line.contains("venom")), "{left}");
        }
        let shown = self.run(&["jobs", "show", "1", "--json"]).await;
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown["total"]["rejected"], VENOM, "{shown:#}");
    }
}

#[tokio::test]
async fn killed_before_the_ledger_has_struck_anything_it_lists_all() {
    let world = World::new().await;
    let mut retry = world.retry(["--ledger", &world.ledger]);
    let waits = async |_: &Tool| world.count(WAITING).await == 1;
    retry.until("the ledger strikes", waits).await;
    drop(retry);
    world.let_it_go_on().await;
    // PostgreSQL undoes it as soon as it notices; who lists the errors does not see it before either.
    assert_eq!(world.errors().await.lines().count(), INPUTS);
    assert_eq!(world.kept().lines().count(), INPUTS);
    world.ends_well(false).await;
}

#[tokio::test]
async fn killed_after_the_ledger_has_struck_them_they_are_not_sent_again() {
    let world = World::new().await;
    let ledger = format!("ledger={}", world.ledger);
    let scanner = Service::start("bucket-scanner", &[ledger]).unwrap();
    scanner.jobs().await.unwrap();
    let mut retry = world.retry(["--server", &scanner.url()]);
    let waits = async |_: &Tool| world.count(WAITING).await == 1;
    retry.until("the ledger strikes", waits).await;
    // It never learns of the answer.
    retry.signal("STOP").unwrap();
    world.let_it_go_on().await;
    let left = i64::try_from(VENOM).unwrap();
    let struck = async |_: &Tool| world.count(LISTED).await == left;
    retry.until("the errors are struck", struck).await;
    drop(retry);
    assert_eq!(world.kept().lines().count(), INPUTS);
    world.ends_well(true).await;
}
