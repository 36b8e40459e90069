//! Plays the FHIR server: stores resources in transactions of the test's own making.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::FhirDatabase;
use crate::remote_index::MessageBuilder;

/// A transaction of the server, open until it is committed or rolled back. Dropped, it is rolled back.
#[derive(Debug)]
pub struct FhirTransaction {
    connection: PgConnection,
}

/// A version of a resource as the server stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Such as `Patient`.
    pub resource_type: String,
    /// The resource's id.
    pub logical_id: String,
    /// The resource's key in the database.
    pub logical_resource_id: i64,
    /// 1 for a new resource.
    pub version_id: i32,
    /// When it was stored, in UTC, such as `2026-05-04T09:15:27.123456Z`.
    pub last_updated: String,
    /// Hash of the search parameters.
    pub parameter_hash: String,
}

impl Stored {
    /// The message that the server sends of it, without values yet.
    pub fn message(&self) -> MessageBuilder {
        MessageBuilder::of(self)
    }
}

impl FhirTransaction {
    /// Begins one.
    pub async fn begin(database: &FhirDatabase) -> anyhow::Result<Self> {
        let mut connection = database.connect().await?;
        connection.execute("BEGIN").await?;
        Ok(Self { connection })
    }

    /// Creates the resource, or stores its next version. Parameters stored before are deleted where the hash
    /// is another, as the server does it.
    pub async fn put(
        &mut self,
        resource_type: &str,
        logical_id: &str,
        parameter_hash: &str,
    ) -> anyhow::Result<Stored> {
        let id = self.locked_ident(resource_type, logical_id).await?;
        let last_updated = self.time().await?;
        let mut stored = Stored {
            resource_type: resource_type.to_owned(),
            logical_id: logical_id.to_owned(),
            logical_resource_id: id,
            version_id: 1,
            last_updated,
            parameter_hash: parameter_hash.to_owned(),
        };
        match self.current_hash(id).await? {
            None => self.insert(&stored).await?,
            Some(hash) => {
                if hash.as_deref() != Some(parameter_hash) {
                    self.delete_parameters(resource_type, id).await?;
                }
                let hash = Some(parameter_hash);
                let changed = self.update(&stored, hash, 'N');
                stored.version_id = changed.await?;
            }
        }
        self.add_version(&stored, 'N').await?;
        Ok(stored)
    }

    /// Deletes the resource as the server does it: a further version without a hash, and no message. The
    /// parameters stay.
    pub async fn delete(&mut self, stored: &Stored) -> anyhow::Result<()> {
        let mut deleted = Stored {
            last_updated: self.time().await?,
            ..stored.clone()
        };
        deleted.version_id = self.update(&deleted, None, 'Y').await?;
        self.add_version(&deleted, 'Y').await
    }

    /// Adds a code of a code system that is there already, as the server does for the values it writes itself.
    pub async fn add_token(&mut self, system: &str, code: &str) -> anyhow::Result<()> {
        let insert = "INSERT INTO common_token_values (code_system_id, token_value)
            SELECT code_system_id, $2 FROM code_systems WHERE code_system_name = $1 ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(system).bind(code);
        insert.execute(&mut self.connection).await?;
        Ok(())
    }

    /// Gives a resource that is referred to its id, as the server does; its row is locked.
    pub async fn add_reference(
        &mut self,
        resource_type: &str,
        logical_id: &str,
    ) -> anyhow::Result<i64> {
        Ok(self.locked_ident(resource_type, logical_id).await?)
    }

    /// Makes it last, and seen by others.
    pub async fn commit(mut self) -> anyhow::Result<()> {
        self.connection.execute("COMMIT").await?;
        Ok(())
    }

    /// Undoes it.
    pub async fn roll_back(mut self) -> anyhow::Result<()> {
        self.connection.execute("ROLLBACK").await?;
        Ok(())
    }

    /// The resource's id, given to it here or by a reference before; its row is locked.
    async fn locked_ident(&mut self, resource_type: &str, logical_id: &str) -> sqlx::Result<i64> {
        let select = "SELECT logical_resource_id
            FROM logical_resource_ident i JOIN resource_types t USING (resource_type_id)
            WHERE resource_type = $1 AND logical_id = $2 FOR NO KEY UPDATE OF i";
        let select = || {
            sqlx::query_scalar(select)
                .bind(resource_type)
                .bind(logical_id)
        };
        if let Some(id) = select().fetch_optional(&mut self.connection).await? {
            return Ok(id);
        }
        let insert = "INSERT INTO logical_resource_ident
            SELECT resource_type_id, $2, nextval('fhir_sequence') FROM resource_types
            WHERE resource_type = $1 ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(resource_type).bind(logical_id);
        insert.execute(&mut self.connection).await?;
        select().fetch_one(&mut self.connection).await
    }

    async fn time(&mut self) -> sqlx::Result<String> {
        let now = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        sqlx::query_scalar(now)
            .fetch_one(&mut self.connection)
            .await
    }

    /// None for a resource that is not there yet.
    async fn current_hash(&mut self, id: i64) -> sqlx::Result<Option<Option<String>>> {
        sqlx::query_scalar(
            "SELECT parameter_hash FROM logical_resources WHERE logical_resource_id = $1",
        )
        .bind(id)
        .fetch_optional(&mut self.connection)
        .await
    }

    async fn insert(&mut self, stored: &Stored) -> sqlx::Result<()> {
        let insert = "INSERT INTO logical_resources
            SELECT $1, resource_type_id, $2, '1970-01-01', 0, $3::timestamp, 'N', $4
            FROM resource_types WHERE resource_type = $5";
        sqlx::query(insert)
            .bind(stored.logical_resource_id)
            .bind(&stored.logical_id)
            .bind(&stored.last_updated)
            .bind(&stored.parameter_hash)
            .bind(&stored.resource_type)
            .execute(&mut self.connection)
            .await?;
        let insert = format!(
            "INSERT INTO {}_logical_resources
                (logical_resource_id, logical_id, is_deleted, last_updated, version_id)
             VALUES ($1, $2, 'N', $3::timestamp, 1)",
            stored.resource_type
        );
        sqlx::query(AssertSqlSafe(insert))
            .bind(stored.logical_resource_id)
            .bind(&stored.logical_id)
            .bind(&stored.last_updated)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Answers the new version.
    async fn update(
        &mut self,
        stored: &Stored,
        hash: Option<&str>,
        is_deleted: char,
    ) -> sqlx::Result<i32> {
        let update = "UPDATE logical_resources
            SET last_updated = $2::timestamp, parameter_hash = $3, is_deleted = $4
            WHERE logical_resource_id = $1";
        sqlx::query(update)
            .bind(stored.logical_resource_id)
            .bind(&stored.last_updated)
            .bind(hash)
            .bind(is_deleted.to_string())
            .execute(&mut self.connection)
            .await?;
        let update = format!(
            "UPDATE {}_logical_resources
             SET last_updated = $2::timestamp, is_deleted = $3, version_id = version_id + 1
             WHERE logical_resource_id = $1 RETURNING version_id",
            stored.resource_type
        );
        sqlx::query_scalar(AssertSqlSafe(update))
            .bind(stored.logical_resource_id)
            .bind(&stored.last_updated)
            .bind(is_deleted.to_string())
            .fetch_one(&mut self.connection)
            .await
    }

    async fn delete_parameters(&mut self, resource_type: &str, id: i64) -> sqlx::Result<()> {
        sqlx::query("SELECT delete_resource_parameters($1, $2)")
            .bind(resource_type)
            .bind(id)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    async fn add_version(&mut self, stored: &Stored, is_deleted: char) -> anyhow::Result<()> {
        let insert = format!(
            "INSERT INTO {}_resources (resource_id, logical_resource_id, version_id, last_updated, is_deleted)
             VALUES (nextval('fhir_sequence'), $1, $2, $3::timestamp, $4)",
            stored.resource_type
        );
        sqlx::query(AssertSqlSafe(insert))
            .bind(stored.logical_resource_id)
            .bind(stored.version_id)
            .bind(&stored.last_updated)
            .bind(is_deleted.to_string())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}
