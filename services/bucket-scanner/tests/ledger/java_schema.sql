-- What `fhir-bucket --create-schema` makes in PostgreSQL, in the schema that comes first on the search path.
CREATE TABLE control (
    schema_name VARCHAR(128) NOT NULL, lease_owner_host VARCHAR(64) NOT NULL,
    lease_owner_uuid VARCHAR(36) NOT NULL, lease_until TIMESTAMP NOT NULL,
    CONSTRAINT control_pk PRIMARY KEY (schema_name));
CREATE TABLE whole_schema_version (
    record_id INT NOT NULL, version_id INT NOT NULL,
    CONSTRAINT whole_schema_version_pk PRIMARY KEY (record_id),
    CONSTRAINT ck_whole_schema_version_rid CHECK (record_id = 1));
CREATE TABLE version_history (
    schema_name VARCHAR(64) NOT NULL, object_type VARCHAR(16) NOT NULL,
    object_name VARCHAR(64) NOT NULL, version INT NOT NULL, applied TIMESTAMP NOT NULL,
    CONSTRAINT version_history_pk PRIMARY KEY (schema_name, object_type, object_name, version));
CREATE SEQUENCE job_allocation_seq AS BIGINT INCREMENT BY 1 START WITH 1 CACHE 1000 NO CYCLE;
CREATE TABLE loader_instances (
    loader_instance_id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    loader_instance_key VARCHAR(36) NOT NULL, hostname VARCHAR(64) NOT NULL, pid INT NOT NULL,
    heartbeat_tstamp TIMESTAMP NOT NULL, status VARCHAR(8) NOT NULL,
    CONSTRAINT loader_instances_pk PRIMARY KEY (loader_instance_id));
CREATE UNIQUE INDEX unq_loader_instances_key ON loader_instances (loader_instance_key);
CREATE TABLE bucket_paths (
    bucket_path_id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    bucket_name VARCHAR(64) NOT NULL, bucket_path VARCHAR(256) NOT NULL,
    CONSTRAINT bucket_paths_pk PRIMARY KEY (bucket_path_id));
CREATE UNIQUE INDEX unq_bucket_paths_nmpth ON bucket_paths (bucket_name, bucket_path);
CREATE TABLE resource_bundles (
    resource_bundle_id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    bucket_path_id BIGINT NOT NULL, object_name VARCHAR(128) NOT NULL, object_size BIGINT NOT NULL,
    file_type VARCHAR(12) NOT NULL, etag VARCHAR(64) NOT NULL, last_modified TIMESTAMP NOT NULL,
    scan_tstamp TIMESTAMP NOT NULL, version INT NOT NULL, allocation_id BIGINT,
    loader_instance_id BIGINT,
    CONSTRAINT resource_bundles_pk PRIMARY KEY (resource_bundle_id));
CREATE UNIQUE INDEX unq_resource_bundle_bktnm ON resource_bundles (bucket_path_id, object_name);
CREATE INDEX idx_resource_bundle_allocid ON resource_bundles (allocation_id);
ALTER TABLE resource_bundles ADD CONSTRAINT fk_resource_bundles_bkt
    FOREIGN KEY (bucket_path_id) REFERENCES bucket_paths (bucket_path_id);
CREATE TABLE resource_bundle_loads (
    resource_bundle_load_id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    resource_bundle_id BIGINT NOT NULL, allocation_id BIGINT NOT NULL,
    loader_instance_id BIGINT NOT NULL, version INT NOT NULL, load_started TIMESTAMP NOT NULL,
    load_completed TIMESTAMP, rows_processed INT, failure_count INT,
    CONSTRAINT resource_bundle_loads_pk PRIMARY KEY (resource_bundle_load_id));
CREATE UNIQUE INDEX unq_resource_bundle_loadsrbal
    ON resource_bundle_loads (resource_bundle_id, allocation_id);
CREATE INDEX idx_resource_bundle_loads_rbv ON resource_bundle_loads (resource_bundle_id, version);
ALTER TABLE resource_bundle_loads ADD CONSTRAINT fk_resource_bundle_loads_rb
    FOREIGN KEY (resource_bundle_id) REFERENCES resource_bundles (resource_bundle_id);
ALTER TABLE resource_bundle_loads ADD CONSTRAINT fk_resource_bundle_loads_li
    FOREIGN KEY (loader_instance_id) REFERENCES loader_instances (loader_instance_id);
CREATE TABLE resource_bundle_errors (
    resource_bundle_load_id BIGINT NOT NULL, line_number INT NOT NULL,
    error_text VARCHAR(1024) NOT NULL, error_tstamp TIMESTAMP NOT NULL, response_time_ms INT,
    http_status_code INT, http_status_text VARCHAR(64));
CREATE UNIQUE INDEX unq_resource_bundle_errorsrbln
    ON resource_bundle_errors (resource_bundle_load_id, line_number);
ALTER TABLE resource_bundle_errors ADD CONSTRAINT fkresource_bundle_errors_rbid
    FOREIGN KEY (resource_bundle_load_id)
    REFERENCES resource_bundle_loads (resource_bundle_load_id);
CREATE TABLE resource_types (
    resource_type_id INT GENERATED ALWAYS AS IDENTITY NOT NULL,
    resource_type VARCHAR(64) NOT NULL,
    CONSTRAINT resource_types_pk PRIMARY KEY (resource_type_id));
CREATE UNIQUE INDEX unq_resource_types_rt ON resource_types (resource_type);
CREATE TABLE logical_resources (
    logical_resource_id BIGINT GENERATED ALWAYS AS IDENTITY NOT NULL,
    resource_type_id INT NOT NULL, logical_id VARCHAR(64) NOT NULL,
    resource_bundle_load_id BIGINT NOT NULL, line_number INT NOT NULL,
    created_tstamp TIMESTAMP NOT NULL, response_time_ms INT,
    CONSTRAINT logical_resources_pk PRIMARY KEY (logical_resource_id));
CREATE UNIQUE INDEX unq_logical_resources_rtli ON logical_resources (resource_type_id, logical_id);
CREATE INDEX idx_logical_resources_rbln
    ON logical_resources (resource_bundle_load_id, line_number);
ALTER TABLE logical_resources ADD CONSTRAINT fklogical_resources_rtid
    FOREIGN KEY (resource_type_id) REFERENCES resource_types (resource_type_id);
ALTER TABLE logical_resources ADD CONSTRAINT fklogical_resources_rbid
    FOREIGN KEY (resource_bundle_load_id)
    REFERENCES resource_bundle_loads (resource_bundle_load_id);
INSERT INTO resource_types (resource_type) VALUES ('Patient'), ('Observation'), ('Encounter');
INSERT INTO whole_schema_version VALUES (1, 1);
