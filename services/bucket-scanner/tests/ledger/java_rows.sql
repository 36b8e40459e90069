-- What a fleet of fhir-bucket leaves behind, its JVMs two hours ahead of UTC.
INSERT INTO loader_instances (loader_instance_key, hostname, pid, heartbeat_tstamp, status) VALUES
    ('6b1f2d9e-0000-4000-8000-000000000001', 'loader-a', -1, '2023-11-14 20:10:00', 'RUNNING'),
    ('6b1f2d9e-0000-4000-8000-000000000002', 'loader-b', -1, '2023-11-13 09:00:00', 'STOPPED'),
    ('6b1f2d9e-0000-4000-8000-000000000003', 'loader-c', -1, '2023-11-01 09:00:00', 'RUNNING');
INSERT INTO bucket_paths (bucket_name, bucket_path) VALUES
    (':local', '/data/in/'), (':local', './in/'), ('bkt', '/'), ('bkt', 'p/q/');
INSERT INTO resource_bundles (bucket_path_id, object_name, object_size, file_type, etag,
    last_modified, scan_tstamp, version, allocation_id, loader_instance_id)
SELECT path, name, size, CASE WHEN name LIKE '%.json' THEN 'JSON' ELSE 'NDJSON' END, etag,
    '2020-09-13 14:26:40.123', '2023-11-12 09:00:00', version, allocation, instance
FROM (VALUES
    (1, 'never.ndjson', 100, '', 1, NULL::BIGINT, NULL::BIGINT),
    (1, 'dead.ndjson', 200, '', 1, 1001, 1),
    (1, 'stale.ndjson', 300, '', 1, NULL, NULL),
    (1, 'done.ndjson', 400, '', 1, 1002, 1),
    (1, 'changed.ndjson', 500, '', 2, NULL, NULL),
    (1, 'done.json', 600, '', 1, 1003, 1),
    (2, 'relative.ndjson', 700, '', 1, 1002, 1),
    (3, 'top.ndjson', 800, 'abc-1', 1, 1004, 2),
    (4, 'twice.json', 900, 'e9', 3, 1005, 2),
    (1, 'reset.ndjson', 1000, '', 1, NULL, NULL),
    (1, 'empty.ndjson', 0, '', 1, NULL, NULL),
    (4, 'never.ndjson', 1100, 'n', 1, NULL, NULL)
) AS b (path, name, size, etag, version, allocation, instance);
INSERT INTO resource_bundle_loads (resource_bundle_id, allocation_id, loader_instance_id, version,
    load_started, load_completed, rows_processed, failure_count) VALUES
    (2, 1001, 1, 1, '2023-11-14 20:00:00', NULL, NULL, NULL),
    (3, 7, 2, 1, '2023-11-13 08:00:00', NULL, NULL, NULL),
    (4, 1002, 1, 1, '2023-11-14 10:00:00', '2023-11-14 10:00:10', 4, 1),
    (5, 8, 2, 1, '2023-11-13 07:00:00', '2023-11-13 07:00:30', 2, 0),
    (6, 1003, 1, 1, '2023-11-14 11:00:00', '2023-11-14 11:00:05', 1, 1),
    (7, 1002, 1, 1, '2023-11-14 10:00:00', '2023-11-14 10:00:20', 1, 0),
    (8, 1004, 2, 1, '2023-11-13 08:10:00', '2023-11-13 08:10:05', 1, 0),
    (9, 9, 2, 1, '2023-11-13 06:00:00', '2023-11-13 06:00:05', 1, 0),
    (9, 1005, 2, 3, '2023-11-13 08:20:00', '2023-11-13 08:20:05', 1, 0),
    (10, 10, 2, 1, '2023-11-13 05:00:00', '2023-11-13 05:00:05', 1, 0);
INSERT INTO logical_resources (resource_type_id, logical_id, resource_bundle_load_id, line_number,
    created_tstamp, response_time_ms) VALUES
    (1, 'dead-0', 1, 0, '2023-11-14 20:00:01', 12), (1, 'dead-1', 1, 1, '2023-11-14 20:00:02', 12),
    (1, 'done-0', 3, 0, '2023-11-14 10:00:01', 10), (1, 'done-1', 3, 1, '2023-11-14 10:00:03', 10),
    (1, 'done-2', 3, 2, '2023-11-14 10:00:05', 10), (2, 'done-3', 3, 2, '2023-11-14 10:00:05', -1),
    (2, 'rel-0', 6, 0, '2023-11-14 10:00:06', -1), (2, 'rel-1', 6, 1, '2023-11-14 10:00:16', -1),
    (3, 'top-0', 7, 0, '2023-11-13 08:10:01', 9), (3, 'twice-0', 9, 0, '2023-11-13 08:20:01', 9);
INSERT INTO resource_bundle_errors (resource_bundle_load_id, line_number, error_text, error_tstamp,
    response_time_ms, http_status_code, http_status_text) VALUES
    (3, 1, 'Parse error: unexpected end', '2023-11-14 10:00:02', NULL, NULL, NULL),
    (3, 3, '<unknown>', '2023-11-14 10:00:04', -1234567, 422, 'Unprocessable Entity'),
    (5, 0, repeat('x', 1024), '2023-11-14 11:00:04', 5, 400, 'Bad Request');
SELECT setval('job_allocation_seq', 2000);
