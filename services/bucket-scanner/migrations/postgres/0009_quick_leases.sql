-- Units and loads name the worker that has them: nobody deletes workers, and a lease looks whether there is this one
-- (docs/adr/0007-references-not-checked.md).
ALTER TABLE resource_bundle_loads DROP CONSTRAINT IF EXISTS resource_bundle_loads_loader_instance_id_fkey;
ALTER TABLE load_units DROP CONSTRAINT IF EXISTS load_units_loader_instance_id_fkey;

-- A lease passes in the index what was leased before and is not yet vacuumed away: by itself the server would wait
-- with that until a fifth of the table has changed.
ALTER TABLE load_units SET (autovacuum_vacuum_scale_factor = 0.05);

-- New units belong to new loads, of their job's present run: one look at the job saves one at each load.
CREATE FUNCTION keep_sums_of_new_units() RETURNS TRIGGER LANGUAGE plpgsql
SET plan_cache_mode = auto SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO job_sums (job_id, run, bytes, bytes_done)
    SELECT u.job_id, j.run, u.bytes, u.bytes_done
    FROM (
        SELECT job_id, SUM(range_end - range_start) AS bytes,
            SUM(CASE WHEN state = 'done' OR source_bytes > range_end - range_start
                THEN range_end - range_start ELSE source_bytes END) AS bytes_done
        FROM rows_after GROUP BY job_id
    ) AS u JOIN jobs j ON j.job_id = u.job_id;
    RETURN NULL;
END
$$;
DROP TRIGGER units_added ON load_units;
CREATE TRIGGER units_added AFTER INSERT ON load_units
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION keep_sums_of_new_units();
