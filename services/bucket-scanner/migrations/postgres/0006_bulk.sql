-- A scan adds millions of rows that refer to what the same transaction has read, locked or added, and what
-- nobody ever deletes: looking each of them up again for every row takes half of the time
-- (docs/adr/0007-references-not-checked.md).
ALTER TABLE resource_bundles DROP CONSTRAINT IF EXISTS resource_bundles_source_id_fkey;
ALTER TABLE resource_bundles DROP CONSTRAINT IF EXISTS resource_bundles_bucket_path_id_fkey;
ALTER TABLE resource_bundle_loads DROP CONSTRAINT IF EXISTS resource_bundle_loads_resource_bundle_id_fkey;
ALTER TABLE resource_bundle_loads DROP CONSTRAINT IF EXISTS resource_bundle_loads_job_id_fkey;
ALTER TABLE load_units DROP CONSTRAINT IF EXISTS load_units_resource_bundle_load_id_fkey;
ALTER TABLE load_units DROP CONSTRAINT IF EXISTS load_units_job_id_fkey;
-- So do the rows of resources that a server created, of which there are even more.
ALTER TABLE logical_resources DROP CONSTRAINT IF EXISTS logical_resources_resource_type_id_fkey;
ALTER TABLE logical_resources DROP CONSTRAINT IF EXISTS logical_resources_resource_bundle_load_id_fkey;

-- Objects that no worker has taken yet need no place in it.
DROP INDEX idx_resource_bundle_allocid;
CREATE INDEX idx_resource_bundle_allocid ON resource_bundles (allocation_id)
    WHERE allocation_id IS NOT NULL;
