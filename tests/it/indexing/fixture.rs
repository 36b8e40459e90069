//! The database that the other tests stand on is as the server makes it.

use sqlx::Executor as _;
use stoker_tests::fhir_database::{
    FhirDatabase, FhirTransaction, SchemaType, assert_same, parameter_rows, resource_types, rows_of,
};
use stoker_tests::remote_index::Captured;

/// The first value of the first row.
pub(super) async fn value(database: &FhirDatabase, query: &'static str) -> i64 {
    let mut connection = database.connect().await.unwrap();
    let value = sqlx::query_scalar(query).fetch_one(&mut connection).await;
    value.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recorded_state_fits_the_tables() {
    let database = FhirDatabase::fresh(SchemaType::Plain).await.unwrap();
    let captured = Captured::updates().unwrap();
    captured.load_before(&database).await.unwrap();
    let resources = value(&database, "SELECT count(*) FROM logical_resources").await;
    assert_eq!(resources, 14_893);
    let observations = value(
        &database,
        "SELECT count(*) FROM observation_logical_resources",
    )
    .await;
    assert!(observations > 3000, "{observations}");
    let types =
        "SELECT resource_type_id, resource_type, retired::text FROM resource_types ORDER BY 1";
    let mut connection = database.connect().await.unwrap();
    let recorded: Vec<(i32, String, String)> = sqlx::query_as(types)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let ours = resource_types().into_iter().map(|t| {
        let retired = if t.retired { "Y" } else { "N" };
        (t.id, t.name.to_owned(), retired.to_owned())
    });
    assert_eq!(recorded, ours.collect::<Vec<_>>(), "resource types");
    assert_same(&[], &parameter_rows(&database).await.unwrap());
    database.remove().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_deletes_parameters_only_where_the_hash_differs() {
    for schema_type in [SchemaType::Plain, SchemaType::Distributed] {
        let database = FhirDatabase::fresh(schema_type).await.unwrap();
        let mut first = FhirTransaction::begin(&database).await.unwrap();
        let stored = first.put("Patient", "p1", "hash-a").await.unwrap();
        first.commit().await.unwrap();
        assert_eq!(stored.version_id, 1);
        let mut connection = database.connect().await.unwrap();
        let insert = "INSERT INTO patient_str_values
            SELECT add_parameter_name('family'), 'Núñez \\ \"x\"', NULL, logical_resource_id, 2
            FROM logical_resources";
        for _ in 0..2 {
            connection.execute(insert).await.unwrap();
        }
        let row = r#"{"resource":"Patient/p1","table":"patient_str_values","parameter":"family","str_value":"Núñez \\ \"x\"","composite_id":2}"#;
        let found = rows_of(&database, stored.logical_resource_id)
            .await
            .unwrap();
        assert_eq!(
            (found.distinct, found.duplicates),
            (vec![row.to_owned()], vec![row.to_owned()])
        );

        for (hash, version, rows) in [("hash-a", 2, 1), ("hash-b", 3, 0)] {
            let mut again = FhirTransaction::begin(&database).await.unwrap();
            let stored = again.put("Patient", "p1", hash).await.unwrap();
            again.commit().await.unwrap();
            assert_eq!(stored.version_id, version);
            let found = parameter_rows(&database).await.unwrap();
            assert_eq!(found.distinct.len(), rows, "{schema_type:?} {found:?}");
        }
        let erase = "SELECT erase_resource('Patient', 'p1', 1)";
        assert_eq!(value(&database, erase).await, 3, "versions");
        assert_eq!(value(&database, erase).await, -1, "not there any more");
        assert_eq!(
            value(&database, "SELECT count(*) FROM logical_resource_ident").await,
            1
        );
        database.remove().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_or_rolled_back_is_not_seen() {
    let database = FhirDatabase::fresh(SchemaType::Plain).await.unwrap();
    let count = "SELECT count(*) FROM patient_logical_resources";
    let mut open = FhirTransaction::begin(&database).await.unwrap();
    open.put("Patient", "p1", "hash").await.unwrap();
    assert_eq!(value(&database, count).await, 0);
    open.roll_back().await.unwrap();
    assert_eq!(value(&database, count).await, 0);
    let other = database.with_schema("ward_b", &["Patient"]).await.unwrap();
    let mut there = FhirTransaction::begin(&other).await.unwrap();
    there.put("Patient", "p1", "hash").await.unwrap();
    there.commit().await.unwrap();
    assert_eq!(value(&database, count).await, 0);
    assert_eq!(value(&other, count).await, 1);
    database.remove().await.unwrap();
}
