//! A user of the tests' PostgreSQL who is asked for a password; everybody else is trusted there.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::parts;

/// Any number: tests take turns to write the rules of who is let in.
const RULES_LOCK: i64 = 0x7275_6c65;

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub struct LockedUser(&'static str);

impl LockedUser {
    /// A user of this name, which is the test's alone, with that password and no rights.
    pub async fn new(name: &'static str, password: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(&parts::postgres()).await?;
        let role = format!(
            "DO $$ BEGIN CREATE ROLE {name} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        );
        connection.execute(AssertSqlSafe(role)).await?;
        let user = Self(name);
        user.set_password(password).await?;
        // Ends with the connection.
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(RULES_LOCK)
            .execute(&mut connection)
            .await?;
        ask_for_password(&mut connection, name).await?;
        connection.close().await?;
        Ok(user)
    }

    /// The same URL, for this user.
    pub fn url(&self, database: &str) -> String {
        database.replace("postgres@", &format!("{}@", self.0))
    }

    /// Lets the user do everything.
    pub async fn trust(&self) -> anyhow::Result<()> {
        self.run(format!("ALTER ROLE {} SUPERUSER", self.0)).await
    }

    /// From now on another password is asked for; whoever was let in before is put out.
    pub async fn set_password(&self, password: &str) -> anyhow::Result<()> {
        let name = self.0;
        self.run(format!(
            "ALTER ROLE {name} PASSWORD '{password}'; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
        ))
        .await
    }

    async fn run(&self, sql: String) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&parts::postgres()).await?;
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        Ok(connection.close().await?)
    }
}

async fn ask_for_password(connection: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    let file: String = sqlx::query_scalar("SHOW hba_file")
        .fetch_one(&mut *connection)
        .await?;
    let rules: String = sqlx::query_scalar("SELECT pg_read_file(current_setting('hba_file'))")
        .fetch_one(&mut *connection)
        .await?;
    let rule = format!("host all {name} 127.0.0.1/32 scram-sha-256");
    if !rules.contains(&rule) {
        // The first rule that fits is the one that counts.
        let lines = rules.lines().filter(|line| !line.starts_with('#'));
        let lines = [rule.as_str()].into_iter().chain(lines);
        let lines: Vec<String> = lines.map(|line| format!("('{line}')")).collect();
        let copy = format!("COPY (VALUES {}) TO '{file}'", lines.join(", "));
        connection.execute(AssertSqlSafe(copy)).await?;
        connection.execute("SELECT pg_reload_conf()").await?;
    }
    Ok(())
}
