-- What jobs have loaded, to be summed by job, run and type (NULL for what is of no type): counted from the
-- rows themselves, which takes seconds for a million units.
CREATE VIEW job_sums_counted AS
SELECT job_id, run, NULL AS resource_type, 1 AS objects,
    CASE WHEN load_completed IS NULL THEN 0 ELSE 1 END AS objects_done, requests, retries,
    0 AS bytes, 0 AS bytes_done, 0 AS created, 0 AS updated, 0 AS rejected, 0 AS in_doubt
FROM resource_bundle_loads WHERE latest
UNION ALL
SELECT l.job_id, l.run, NULL, 0, 0, 0, 0, u.range_end - u.range_start,
    CASE WHEN u.state = 'done' OR u.source_bytes > u.range_end - u.range_start
        THEN u.range_end - u.range_start ELSE u.source_bytes END, 0, 0, 0, 0
FROM resource_bundle_loads l
JOIN load_units u ON u.resource_bundle_load_id = l.resource_bundle_load_id WHERE l.latest
UNION ALL
SELECT l.job_id, l.run, c.resource_type, 0, 0, 0, 0, 0, 0,
    c.created, c.updated, c.rejected, c.in_doubt
FROM resource_bundle_loads l
JOIN load_counts c ON c.resource_bundle_load_id = l.resource_bundle_load_id WHERE l.latest;
