-- The ledger. Names and meanings of the first seven tables are those of the Java fhir-bucket,
-- widened: texts have no length, numbers are 64 bits, times are UTC.

-- One row a start of a worker process.
CREATE TABLE loader_instances (
    loader_instance_id INTEGER PRIMARY KEY,
    loader_instance_key TEXT NOT NULL,
    hostname TEXT NOT NULL,
    pid BIGINT NOT NULL,
    heartbeat_tstamp TIMESTAMP NOT NULL,
    status TEXT NOT NULL,
    version TEXT NOT NULL,
    CONSTRAINT unq_loader_instances_key UNIQUE (loader_instance_key)
);

-- Places that hold objects. scan_token and scan_expiry are the lease of the scanner at work there.
CREATE TABLE sources (
    source_id INTEGER PRIMARY KEY,
    uri TEXT NOT NULL,
    reach TEXT NOT NULL,
    added TIMESTAMP NOT NULL,
    last_scan TIMESTAMP,
    scan_token TEXT,
    scan_expiry TIMESTAMP,
    CONSTRAINT unq_sources UNIQUE (uri, reach)
);

-- A source going into a target. A run counts starts; scan_wanted counts listings asked for, and
-- scan_begun says which of them the listing at work (or the last one) answers.
CREATE TABLE jobs (
    job_id INTEGER PRIMARY KEY,
    source_id BIGINT NOT NULL REFERENCES sources (source_id),
    base_url TEXT NOT NULL,
    tenant TEXT NOT NULL,
    interaction TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    created TIMESTAMP NOT NULL,
    started TIMESTAMP NOT NULL,
    ended TIMESTAMP,
    run BIGINT NOT NULL,
    reload BOOLEAN NOT NULL,
    scan_wanted BIGINT NOT NULL,
    scan_begun BIGINT NOT NULL,
    scan_run BIGINT NOT NULL,
    objects_unchanged BIGINT NOT NULL,
    objects_ignored BIGINT NOT NULL,
    CONSTRAINT unq_jobs UNIQUE (source_id, base_url, tenant, interaction)
);

-- Things that a job's last scan saw and did not load: unreadable ones, which count as parked objects,
-- and such as there is nothing to load of.
CREATE TABLE scan_issues (
    scan_issue_id INTEGER PRIMARY KEY,
    job_id BIGINT NOT NULL REFERENCES jobs (job_id),
    run BIGINT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    unreadable BOOLEAN NOT NULL,
    found TIMESTAMP NOT NULL
);
CREATE INDEX idx_scan_issues_job ON scan_issues (job_id, scan_issue_id);

-- Key of an object up to and including its last slash; `/` for a key without one, the empty text
-- for a key whose only slash comes first.
CREATE TABLE bucket_paths (
    bucket_path_id INTEGER PRIMARY KEY,
    bucket_name TEXT NOT NULL,
    bucket_path TEXT NOT NULL,
    CONSTRAINT unq_bucket_paths_nmpth UNIQUE (bucket_name, bucket_path)
);

-- One row a discovered object, as last seen. The last four columns are of its latest load.
CREATE TABLE resource_bundles (
    resource_bundle_id INTEGER PRIMARY KEY,
    source_id BIGINT NOT NULL REFERENCES sources (source_id),
    bucket_path_id BIGINT NOT NULL REFERENCES bucket_paths (bucket_path_id),
    object_name TEXT NOT NULL,
    object_size BIGINT NOT NULL,
    file_type TEXT NOT NULL,
    compression TEXT NOT NULL,
    etag TEXT NOT NULL,
    last_modified TIMESTAMP NOT NULL,
    scan_tstamp TIMESTAMP NOT NULL,
    version BIGINT NOT NULL,
    allocation_id BIGINT,
    loader_instance_id BIGINT,
    load_started TIMESTAMP,
    load_completed TIMESTAMP,
    CONSTRAINT unq_resource_bundle_bktnm UNIQUE (source_id, bucket_path_id, object_name)
);
CREATE INDEX idx_resource_bundle_allocid ON resource_bundles (allocation_id);

-- One version of an object being loaded by one job. `latest` marks the one that counts for its
-- job and object; `run` is the job's run that last took it up; allocation_id is its own id, once
-- a worker has taken it.
CREATE TABLE resource_bundle_loads (
    resource_bundle_load_id INTEGER PRIMARY KEY,
    resource_bundle_id BIGINT NOT NULL REFERENCES resource_bundles (resource_bundle_id),
    job_id BIGINT NOT NULL REFERENCES jobs (job_id),
    allocation_id BIGINT,
    loader_instance_id BIGINT REFERENCES loader_instances (loader_instance_id),
    version BIGINT NOT NULL,
    run BIGINT NOT NULL,
    latest BOOLEAN NOT NULL,
    planned TIMESTAMP NOT NULL,
    load_started TIMESTAMP,
    load_completed TIMESTAMP,
    rows_processed BIGINT,
    failure_count BIGINT,
    requests BIGINT NOT NULL,
    retries BIGINT NOT NULL
);
CREATE UNIQUE INDEX unq_resource_bundle_loads_latest
    ON resource_bundle_loads (job_id, resource_bundle_id) WHERE latest;
CREATE INDEX idx_resource_bundle_loads_rbv ON resource_bundle_loads (resource_bundle_id, version);

-- A range of an object's stored bytes that one worker at a time loads. done_ranges are decoded
-- bytes with a committed outcome.
CREATE TABLE load_units (
    unit_id INTEGER PRIMARY KEY,
    resource_bundle_load_id BIGINT NOT NULL
        REFERENCES resource_bundle_loads (resource_bundle_load_id),
    job_id BIGINT NOT NULL REFERENCES jobs (job_id),
    state TEXT NOT NULL CHECK
        (state IN ('open', 'leased', 'done', 'parked', 'rescinded', 'cancelled')),
    range_start BIGINT NOT NULL,
    range_end BIGINT NOT NULL,
    done_ranges TEXT NOT NULL,
    lease_token TEXT,
    lease_expiry TIMESTAMP,
    attempts BIGINT NOT NULL,
    not_before TIMESTAMP NOT NULL,
    loader_instance_id BIGINT REFERENCES loader_instances (loader_instance_id),
    reason TEXT NOT NULL,
    source_bytes BIGINT NOT NULL,
    lines BIGINT NOT NULL,
    decoded_bytes BIGINT NOT NULL
);
CREATE INDEX idx_load_units_load ON load_units (resource_bundle_load_id);
CREATE INDEX idx_load_units_open ON load_units (job_id, not_before, unit_id) WHERE state = 'open';
CREATE INDEX idx_load_units_leased ON load_units (job_id, lease_expiry) WHERE state = 'leased';
CREATE INDEX idx_load_units_parked ON load_units (job_id, resource_bundle_load_id, unit_id)
    WHERE state = 'parked';
CREATE INDEX idx_load_units_cancelled ON load_units (job_id) WHERE state = 'cancelled';

-- Entries of a load by resource type (empty when the input was no resource).
CREATE TABLE load_counts (
    resource_bundle_load_id BIGINT NOT NULL
        REFERENCES resource_bundle_loads (resource_bundle_load_id),
    resource_type TEXT NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    in_doubt BIGINT NOT NULL,
    PRIMARY KEY (resource_bundle_load_id, resource_type)
);

CREATE TABLE resource_types (
    resource_type_id INTEGER PRIMARY KEY,
    resource_type TEXT NOT NULL,
    CONSTRAINT unq_resource_types_rt UNIQUE (resource_type)
);

-- One row a resource that the server created under an id of its own.
CREATE TABLE logical_resources (
    logical_resource_id INTEGER PRIMARY KEY,
    resource_type_id BIGINT NOT NULL REFERENCES resource_types (resource_type_id),
    logical_id TEXT NOT NULL,
    resource_bundle_load_id BIGINT NOT NULL
        REFERENCES resource_bundle_loads (resource_bundle_load_id),
    resource_bundle_id BIGINT,
    loader_instance_id BIGINT,
    line_number BIGINT NOT NULL,
    entry_index BIGINT,
    created_tstamp TIMESTAMP NOT NULL,
    response_time_ms BIGINT
);
CREATE INDEX idx_logical_resources_rtli ON logical_resources (resource_type_id, logical_id);
CREATE INDEX idx_logical_resources_rbln
    ON logical_resources (resource_bundle_load_id, line_number);

-- One row an input that was refused or whose outcome is in doubt.
CREATE TABLE resource_bundle_errors (
    error_id INTEGER PRIMARY KEY AUTOINCREMENT,
    resource_bundle_load_id BIGINT NOT NULL
        REFERENCES resource_bundle_loads (resource_bundle_load_id),
    unit_id BIGINT NOT NULL REFERENCES load_units (unit_id),
    kind TEXT NOT NULL,
    line_number BIGINT NOT NULL,
    entry_index BIGINT,
    input_offset BIGINT NOT NULL,
    input_length BIGINT NOT NULL,
    resource_type TEXT NOT NULL,
    error_text TEXT NOT NULL,
    error_tstamp TIMESTAMP NOT NULL,
    response_time_ms BIGINT,
    http_status_code BIGINT,
    http_status_text TEXT,
    operation_outcome BLOB NOT NULL,
    quarantined_bytes BIGINT NOT NULL,
    quarantine_parts BIGINT NOT NULL
);
CREATE INDEX idx_resource_bundle_errors_order
    ON resource_bundle_errors (resource_bundle_load_id, input_offset, error_id);
CREATE INDEX idx_resource_bundle_errors_unit ON resource_bundle_errors (unit_id);

-- The bytes of those inputs, in parts of at most 1 MiB, numbered from 0.
CREATE TABLE quarantine (
    error_id BIGINT NOT NULL REFERENCES resource_bundle_errors (error_id),
    part_number BIGINT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (error_id, part_number)
);
