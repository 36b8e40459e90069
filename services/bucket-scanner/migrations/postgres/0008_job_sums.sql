-- What job_sums_counted shows, kept: every statement that changes loads, units or counts adds rows that say by how much, in
-- its own transaction. Rows are only added, so that no writer waits for another; now and then a scanner
-- adds many up to one.
CREATE TABLE job_sums (
    job_id BIGINT NOT NULL,
    run BIGINT NOT NULL,
    resource_type TEXT,
    objects BIGINT NOT NULL DEFAULT 0,
    objects_done BIGINT NOT NULL DEFAULT 0,
    requests BIGINT NOT NULL DEFAULT 0,
    retries BIGINT NOT NULL DEFAULT 0,
    bytes BIGINT NOT NULL DEFAULT 0,
    bytes_done BIGINT NOT NULL DEFAULT 0,
    created BIGINT NOT NULL DEFAULT 0,
    updated BIGINT NOT NULL DEFAULT 0,
    rejected BIGINT NOT NULL DEFAULT 0,
    in_doubt BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX idx_job_sums_job ON job_sums (job_id);
INSERT INTO job_sums
SELECT job_id, run, resource_type, SUM(objects), SUM(objects_done), SUM(requests), SUM(retries),
    SUM(bytes), SUM(bytes_done), SUM(created), SUM(updated), SUM(rejected), SUM(in_doubt)
FROM job_sums_counted GROUP BY job_id, run, resource_type;

-- Differences are grouped, not joined: a writer's session joins row by row. A load that counts no more, or
-- for another job or run, takes its units and counts along; who changes those has locked the load before.
CREATE FUNCTION keep_sums_of_loads() RETURNS TRIGGER LANGUAGE plpgsql
SET plan_cache_mode = auto SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO job_sums (job_id, run, objects, objects_done, requests, retries)
        SELECT job_id, run, COUNT(*), COUNT(load_completed), SUM(requests), SUM(retries)
        FROM rows_after WHERE latest GROUP BY job_id, run;
        RETURN NULL;
    END IF;
    INSERT INTO job_sums (job_id, run, objects, objects_done, requests, retries)
    SELECT job_id, run, SUM(n), SUM(CASE WHEN load_completed IS NULL THEN 0 ELSE n END),
        SUM(n * requests), SUM(n * retries)
    FROM (SELECT 1 AS n, * FROM rows_after UNION ALL SELECT -1, * FROM rows_before) AS changes
    WHERE latest GROUP BY job_id, run
    HAVING SUM(n) <> 0 OR SUM(CASE WHEN load_completed IS NULL THEN 0 ELSE n END) <> 0
        OR SUM(n * requests) <> 0 OR SUM(n * retries) <> 0;
    WITH moved AS MATERIALIZED (
        SELECT resource_bundle_load_id, job_id, run, SUM(n) AS n
        FROM (SELECT 1 AS n, * FROM rows_after UNION ALL SELECT -1, * FROM rows_before) AS changes
        WHERE latest GROUP BY resource_bundle_load_id, job_id, run HAVING SUM(n) <> 0
    )
    INSERT INTO job_sums (job_id, run, resource_type, bytes, bytes_done, created, updated, rejected,
        in_doubt)
    SELECT m.job_id, m.run, NULL, SUM(m.n * (u.range_end - u.range_start)),
        SUM(m.n * CASE WHEN u.state = 'done' OR u.source_bytes > u.range_end - u.range_start
            THEN u.range_end - u.range_start ELSE u.source_bytes END), 0, 0, 0, 0
    FROM moved m JOIN load_units u ON u.resource_bundle_load_id = m.resource_bundle_load_id
    GROUP BY m.job_id, m.run
    UNION ALL
    SELECT m.job_id, m.run, c.resource_type, 0, 0, SUM(m.n * c.created), SUM(m.n * c.updated),
        SUM(m.n * c.rejected), SUM(m.n * c.in_doubt)
    FROM moved m JOIN load_counts c ON c.resource_bundle_load_id = m.resource_bundle_load_id
    GROUP BY m.job_id, m.run, c.resource_type;
    RETURN NULL;
END
$$;
CREATE TRIGGER loads_added AFTER INSERT ON resource_bundle_loads
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_loads();
CREATE TRIGGER loads_changed AFTER UPDATE ON resource_bundle_loads
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_loads();

CREATE FUNCTION keep_sums_of_units() RETURNS TRIGGER LANGUAGE plpgsql
SET plan_cache_mode = auto SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO job_sums (job_id, run, bytes, bytes_done)
        SELECT l.job_id, l.run, SUM(u.range_end - u.range_start),
            SUM(CASE WHEN u.state = 'done' OR u.source_bytes > u.range_end - u.range_start
                THEN u.range_end - u.range_start ELSE u.source_bytes END)
        FROM rows_after u JOIN resource_bundle_loads l
            ON l.resource_bundle_load_id = u.resource_bundle_load_id
        WHERE l.latest GROUP BY l.job_id, l.run;
        RETURN NULL;
    END IF;
    INSERT INTO job_sums (job_id, run, bytes_done)
    SELECT l.job_id, l.run, SUM(changed.bytes_done)
    FROM (
        SELECT resource_bundle_load_id,
            SUM(n * CASE WHEN state = 'done' OR source_bytes > range_end - range_start
                THEN range_end - range_start ELSE source_bytes END) AS bytes_done
        FROM (SELECT 1 AS n, * FROM rows_after UNION ALL SELECT -1, * FROM rows_before) AS changes
        GROUP BY resource_bundle_load_id
        HAVING SUM(n * CASE WHEN state = 'done' OR source_bytes > range_end - range_start
            THEN range_end - range_start ELSE source_bytes END) <> 0
    ) AS changed JOIN resource_bundle_loads l
        ON l.resource_bundle_load_id = changed.resource_bundle_load_id
    WHERE l.latest GROUP BY l.job_id, l.run;
    RETURN NULL;
END
$$;
CREATE TRIGGER units_added AFTER INSERT ON load_units
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_units();
CREATE TRIGGER units_changed AFTER UPDATE ON load_units
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_units();

CREATE FUNCTION keep_sums_of_counts() RETURNS TRIGGER LANGUAGE plpgsql
SET plan_cache_mode = auto SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO job_sums (job_id, run, resource_type, created, updated, rejected, in_doubt)
        SELECT l.job_id, l.run, c.resource_type, SUM(c.created), SUM(c.updated), SUM(c.rejected),
            SUM(c.in_doubt)
        FROM rows_after c JOIN resource_bundle_loads l
            ON l.resource_bundle_load_id = c.resource_bundle_load_id
        WHERE l.latest GROUP BY l.job_id, l.run, c.resource_type;
        RETURN NULL;
    END IF;
    INSERT INTO job_sums (job_id, run, resource_type, created, updated, rejected, in_doubt)
    SELECT l.job_id, l.run, c.resource_type, SUM(n * c.created), SUM(n * c.updated),
        SUM(n * c.rejected), SUM(n * c.in_doubt)
    FROM (SELECT 1 AS n, * FROM rows_after UNION ALL SELECT -1, * FROM rows_before) AS c
    JOIN resource_bundle_loads l ON l.resource_bundle_load_id = c.resource_bundle_load_id
    WHERE l.latest GROUP BY l.job_id, l.run, c.resource_type;
    RETURN NULL;
END
$$;
CREATE TRIGGER counts_added AFTER INSERT ON load_counts
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_counts();
CREATE TRIGGER counts_changed AFTER UPDATE ON load_counts
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_counts();
