-- What came from the Java fhir-bucket. zoneless: last_modified is in the time zone of some JVM, until
-- a listing shows the object again. adopted_heartbeat: the last sign of an instance when its tables
-- were taken over; one that gives more is still running.
ALTER TABLE resource_bundles ADD COLUMN zoneless BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE resource_bundles SET zoneless = TRUE
    WHERE source_id IN (SELECT source_id FROM sources WHERE uri = 'adopted:');
CREATE INDEX idx_resource_bundles_zoneless
    ON resource_bundles (source_id, bucket_path_id, object_name) WHERE zoneless;
ALTER TABLE loader_instances ADD COLUMN adopted_heartbeat TIMESTAMP;
UPDATE loader_instances SET adopted_heartbeat = heartbeat_tstamp WHERE version = 'fhir-bucket';
