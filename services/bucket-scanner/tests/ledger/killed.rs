//! A scanner killed while it takes over what the Java fhir-bucket made.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::PgConnection;

use crate::adopting::{ROWS, SCHEMA, counts, database, number, open, run};
use crate::world::Database;

const LIMIT: Duration = Duration::from_secs(30);

/// Stands still at each command of a kind, so that a process can be killed there.
fn halt_at(command: &str) -> String {
    format!(
        "CREATE FUNCTION halt() RETURNS event_trigger LANGUAGE plpgsql AS \
           $$ BEGIN PERFORM pg_sleep(2); END $$; \
         CREATE EVENT TRIGGER halts ON ddl_command_end WHEN TAG IN ('{command}') \
           EXECUTE FUNCTION halt()"
    )
}

fn scanner(database: &Database, home: &std::path::Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_bucket-scanner"))
        .args(["--set", &format!("ledger={}", database.url)])
        .args(["--set", "service.grpc.listen=127.0.0.1:0"])
        .args(["--set", "service.http_listen=127.0.0.1:0"])
        .current_dir(home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn until_it_halts(conn: &mut PgConnection, scanner: &mut Child) {
    let halted = "SELECT COUNT(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let deadline = Instant::now() + LIMIT;
    while number(conn, halted).await == 0 {
        assert!(scanner.try_wait().unwrap().is_none(), "it has ended");
        assert!(Instant::now() < deadline, "it came to no such command");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn whoever_is_killed_while_adopting_has_adopted_nothing() {
    // While tables are renamed, while the ledger's own are made, and when all rows are copied.
    for command in ["ALTER TABLE", "CREATE TABLE", "DROP TABLE"] {
        let (database, mut conn) = database("fhirbucket", &[SCHEMA, ROWS]).await;
        run(&mut conn, &halt_at(command)).await;
        let home = tempfile::tempdir().unwrap();
        let mut scanner = scanner(&database, home.path());
        until_it_halts(&mut conn, &mut scanner).await;
        scanner.kill().unwrap();
        scanner.wait().unwrap();
        run(
            &mut conn,
            "DROP EVENT TRIGGER halts; DROP FUNCTION halt() CASCADE",
        )
        .await;

        // The server undoes what the dead one did as soon as it notices; until then this waits.
        let before = counts(&mut conn).await;
        assert_eq!(before, [3, 4, 12, 10, 3, 10, 3], "{command}");
        let ours = "SELECT COUNT(*) FROM pg_class WHERE relname = 'stoker_schema_versions'";
        assert_eq!(number(&mut conn, ours).await, 0, "{command}");

        for _ in 0..2 {
            let opened = open(&database, "fhirbucket").await.unwrap();
            assert_eq!(opened.jobs().await.unwrap().len(), 1, "{command}");
            let after = counts(&mut conn).await;
            assert_eq!(after, [3, 4, 12, 10, 141, 10, 3], "{command}");
        }
        let java = "SELECT COUNT(*) FROM pg_class WHERE relname LIKE 'java%'";
        assert_eq!(number(&mut conn, java).await, 0, "{command}");
    }
}
