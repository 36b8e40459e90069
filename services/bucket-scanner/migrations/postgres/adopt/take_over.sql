-- Brings the rows of the Java fhir-bucket into the ledger's tables of version 1, with their ids. No
-- row of theirs names a FHIR server: all objects hang on a source of their own, and their loads on a
-- job of its own, until a job lists the same objects. stoker.now is the time, in UTC.

-- Rows come in faster without indexes, and without each being checked: both are made anew at the end.
CREATE TABLE java_made_later AS
SELECT CASE c.contype WHEN 'f' THEN 2 ELSE 1 END AS stage,
    format('ALTER TABLE %I DROP CONSTRAINT %I', t.relname, c.conname) AS unmake,
    format('ALTER TABLE %I ADD CONSTRAINT %I %s', t.relname, c.conname,
        pg_get_constraintdef(c.oid)) AS make
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE c.contype IN ('f', 'u') AND t.relnamespace = current_schema()::REGNAMESPACE
    AND t.relname IN ('resource_bundles', 'resource_bundle_loads', 'load_units', 'load_counts',
        'logical_resources', 'resource_bundle_errors')
UNION ALL
SELECT 1, format('DROP INDEX %I', i.relname), pg_get_indexdef(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relnamespace = current_schema()::REGNAMESPACE
    AND t.relname IN ('resource_bundles', 'resource_bundle_loads', 'load_units', 'load_counts',
        'logical_resources', 'resource_bundle_errors')
    AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.oid);

DO $$
DECLARE
    later RECORD;
BEGIN
    FOR later IN SELECT unmake FROM java_made_later ORDER BY stage DESC LOOP
        EXECUTE later.unmake;
    END LOOP;
END
$$;

INSERT INTO loader_instances
SELECT loader_instance_id, loader_instance_key, hostname, pid, heartbeat_tstamp, 'STOPPED',
    'fhir-bucket'
FROM java_loader_instances;

INSERT INTO bucket_paths SELECT bucket_path_id, bucket_name, bucket_path FROM java_bucket_paths;

INSERT INTO sources (uri, reach, added)
VALUES ('adopted:', '', current_setting('stoker.now')::TIMESTAMP);

INSERT INTO jobs (source_id, base_url, tenant, interaction, state, reason, created, started, ended,
    run, reload, scan_wanted, scan_begun, scan_run, objects_unchanged, objects_ignored)
SELECT source_id, 'unknown', '', 'create', 'done',
    'loaded by fhir-bucket; counts for the first job that finds the same objects',
    added, added, added, 0, FALSE, 0, 0, 0, 0, 0
FROM sources WHERE uri = 'adopted:';

-- An allocation becomes the id of its load. Of one that did not end nothing is left but the load:
-- the object is to be loaded, as fhir-bucket itself sees it once the instance is dead.
INSERT INTO resource_bundles (resource_bundle_id, source_id, bucket_path_id, object_name,
    object_size, file_type, compression, etag, last_modified, scan_tstamp, version, allocation_id,
    loader_instance_id, load_started, load_completed)
SELECT b.resource_bundle_id, s.source_id, b.bucket_path_id, b.object_name, b.object_size,
    b.file_type, 'none', b.etag, b.last_modified, b.scan_tstamp, b.version,
    l.resource_bundle_load_id, l.loader_instance_id, l.load_started, l.load_completed
FROM java_resource_bundles b
JOIN sources s ON s.uri = 'adopted:'
LEFT JOIN java_resource_bundle_loads l ON l.resource_bundle_id = b.resource_bundle_id
    AND l.allocation_id = b.allocation_id AND l.load_completed IS NOT NULL;

-- The load that counts: the present allocation's, or one of an older version. One of the present
-- version that is not allocated any more was reset by hand: the object is to be loaded again.
INSERT INTO resource_bundle_loads (resource_bundle_load_id, resource_bundle_id, job_id,
    allocation_id, loader_instance_id, version, run, latest, planned, load_started, load_completed,
    rows_processed, failure_count, requests, retries)
SELECT l.resource_bundle_load_id, l.resource_bundle_id, j.job_id, l.resource_bundle_load_id,
    l.loader_instance_id, l.version, 0, counts.resource_bundle_load_id IS NOT NULL, l.load_started,
    l.load_started, l.load_completed, l.rows_processed, l.failure_count, 0, 0
FROM java_resource_bundle_loads l
JOIN sources s ON s.uri = 'adopted:'
JOIN jobs j ON j.source_id = s.source_id
LEFT JOIN (
    SELECT DISTINCT ON (c.resource_bundle_id) c.resource_bundle_load_id
    FROM java_resource_bundle_loads c
    JOIN java_resource_bundles b ON b.resource_bundle_id = c.resource_bundle_id
    WHERE c.load_completed IS NOT NULL
        AND (c.allocation_id = b.allocation_id OR c.version < b.version)
    ORDER BY c.resource_bundle_id, (c.allocation_id IS NOT DISTINCT FROM b.allocation_id) DESC,
        c.version DESC, c.load_completed DESC, c.resource_bundle_load_id DESC
) counts ON counts.resource_bundle_load_id = l.resource_bundle_load_id;

INSERT INTO load_units (resource_bundle_load_id, job_id, state, range_start, range_end, done_ranges,
    attempts, not_before, loader_instance_id, reason, source_bytes, lines, decoded_bytes)
SELECT l.resource_bundle_load_id, l.job_id,
    CASE WHEN l.load_completed IS NULL THEN 'rescinded' ELSE 'done' END, 0, b.object_size,
    CASE WHEN l.load_completed IS NULL OR b.object_size = 0 THEN ''
        ELSE '0-' || b.object_size END,
    1, l.load_started, l.loader_instance_id,
    CASE WHEN l.load_completed IS NULL THEN 'fhir-bucket did not end it' ELSE '' END,
    b.object_size, 0, b.object_size
FROM resource_bundle_loads l
JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id;

INSERT INTO resource_types SELECT resource_type_id, resource_type FROM java_resource_types;

INSERT INTO logical_resources (logical_resource_id, resource_type_id, logical_id,
    resource_bundle_load_id, resource_bundle_id, loader_instance_id, line_number, created_tstamp,
    response_time_ms)
SELECT r.logical_resource_id, r.resource_type_id, r.logical_id, r.resource_bundle_load_id,
    l.resource_bundle_id, l.loader_instance_id, r.line_number, r.created_tstamp,
    r.response_time_ms
FROM java_logical_resources r
JOIN resource_bundle_loads l ON l.resource_bundle_load_id = r.resource_bundle_load_id;

-- An error of a JSON file is one of all of it; where a line begins is not known (-1).
INSERT INTO resource_bundle_errors (resource_bundle_load_id, unit_id, kind, line_number,
    input_offset, input_length, resource_type, error_text, error_tstamp, response_time_ms,
    http_status_code, http_status_text, operation_outcome, quarantined_bytes, quarantine_parts)
SELECT e.resource_bundle_load_id, u.unit_id, 'rejected', e.line_number,
    CASE b.file_type WHEN 'JSON' THEN 0 ELSE -1 END,
    CASE b.file_type WHEN 'JSON' THEN b.object_size ELSE 0 END,
    '', e.error_text, e.error_tstamp, e.response_time_ms, e.http_status_code, e.http_status_text,
    '', 0, 0
FROM java_resource_bundle_errors e
JOIN resource_bundle_loads l ON l.resource_bundle_load_id = e.resource_bundle_load_id
JOIN load_units u ON u.resource_bundle_load_id = l.resource_bundle_load_id
JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id
ORDER BY e.resource_bundle_load_id, e.line_number;

INSERT INTO load_counts
SELECT r.resource_bundle_load_id, t.resource_type, COUNT(*), 0, 0, 0
FROM logical_resources r
JOIN resource_types t ON t.resource_type_id = r.resource_type_id
GROUP BY r.resource_bundle_load_id, t.resource_type;

INSERT INTO load_counts
SELECT resource_bundle_load_id, '', 0, 0, COUNT(*), 0
FROM resource_bundle_errors GROUP BY resource_bundle_load_id;

SELECT setval(pg_get_serial_sequence('loader_instances', 'loader_instance_id'),
    (SELECT COALESCE(MAX(loader_instance_id), 0) + 1 FROM loader_instances), FALSE);
SELECT setval(pg_get_serial_sequence('bucket_paths', 'bucket_path_id'),
    (SELECT COALESCE(MAX(bucket_path_id), 0) + 1 FROM bucket_paths), FALSE);
SELECT setval(pg_get_serial_sequence('resource_bundles', 'resource_bundle_id'),
    (SELECT COALESCE(MAX(resource_bundle_id), 0) + 1 FROM resource_bundles), FALSE);
SELECT setval(pg_get_serial_sequence('resource_bundle_loads', 'resource_bundle_load_id'),
    (SELECT COALESCE(MAX(resource_bundle_load_id), 0) + 1 FROM resource_bundle_loads), FALSE);
SELECT setval(pg_get_serial_sequence('resource_types', 'resource_type_id'),
    (SELECT COALESCE(MAX(resource_type_id), 0) + 1 FROM resource_types), FALSE);
SELECT setval(pg_get_serial_sequence('logical_resources', 'logical_resource_id'),
    (SELECT COALESCE(MAX(logical_resource_id), 0) + 1 FROM logical_resources), FALSE);

DO $$
DECLARE
    later RECORD;
BEGIN
    FOR later IN SELECT make FROM java_made_later ORDER BY stage LOOP
        EXECUTE later.make;
    END LOOP;
END
$$;
DROP TABLE java_made_later;

-- Whoever was allowed to read the tables still is.
DO $$
DECLARE
    granted RECORD;
BEGIN
    FOR granted IN
        SELECT substr(t.relname, length('java_') + 1) AS relation, a.privilege_type AS privilege,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
                AS grantee
        FROM pg_class t CROSS JOIN LATERAL aclexplode(t.relacl) a
        WHERE t.relnamespace = current_schema()::REGNAMESPACE AND t.relkind IN ('r', 'p')
            AND t.relname IN ('java_loader_instances', 'java_bucket_paths',
                'java_resource_bundles', 'java_resource_bundle_loads', 'java_resource_types',
                'java_logical_resources', 'java_resource_bundle_errors')
    LOOP
        EXECUTE format('GRANT %s ON %I TO %s',
            granted.privilege, granted.relation, granted.grantee);
    END LOOP;
END
$$;

-- Without this sequence an instance of fhir-bucket that still runs takes no more work, and with
-- whole_schema_version as it is, its --bootstrap-schema does not make a new one.
DROP SEQUENCE IF EXISTS job_allocation_seq;
DROP TABLE java_resource_bundle_errors, java_logical_resources, java_resource_types,
    java_resource_bundle_loads, java_resource_bundles, java_bucket_paths, java_loader_instances;

ANALYZE loader_instances, bucket_paths, resource_bundles, resource_bundle_loads, load_units,
    load_counts, resource_types, logical_resources, resource_bundle_errors;
