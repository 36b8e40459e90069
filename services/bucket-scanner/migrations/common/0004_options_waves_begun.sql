-- What holds for a job besides what names it: file_types is a list with commas, empty for all.
-- listed_run is the last run of the job whose listing ended.
ALTER TABLE jobs ADD COLUMN file_types TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN recycle_after_ms BIGINT;
ALTER TABLE jobs ADD COLUMN no_scan BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE jobs ADD COLUMN unordered BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE jobs ADD COLUMN listed_run BIGINT NOT NULL DEFAULT 0;

-- content_version is the version at which the content last changed: loads of it and of later
-- versions, which are repetitions, are loads of the present content.
ALTER TABLE resource_bundles ADD COLUMN content_version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE resource_bundles ADD COLUMN several_frames BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE resource_bundles SET content_version = version WHERE version > 1;
CREATE INDEX idx_resource_bundles_source ON resource_bundles (source_id, resource_bundle_id);

-- Loads that may be repeated, by the time they ended.
CREATE INDEX idx_resource_bundle_loads_completed
    ON resource_bundle_loads (job_id, load_completed) WHERE latest AND load_completed IS NOT NULL;

-- Units of a lower wave go first. file_type and bucket_path_id are those of the object, for workers
-- that take some only. begun_ranges are decoded bytes about to be sent that must not be sent twice,
-- without those that are done; told_ranges are those of them that an error of kind repeated names.
ALTER TABLE load_units ADD COLUMN wave BIGINT NOT NULL DEFAULT 0;
ALTER TABLE load_units ADD COLUMN file_type TEXT NOT NULL DEFAULT 'NDJSON';
ALTER TABLE load_units ADD COLUMN bucket_path_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE load_units ADD COLUMN begun_ranges TEXT NOT NULL DEFAULT '';
ALTER TABLE load_units ADD COLUMN told_ranges TEXT NOT NULL DEFAULT '';
UPDATE load_units SET
    file_type = (SELECT b.file_type FROM resource_bundle_loads l
        JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id
        WHERE l.resource_bundle_load_id = load_units.resource_bundle_load_id),
    bucket_path_id = (SELECT b.bucket_path_id FROM resource_bundle_loads l
        JOIN resource_bundles b ON b.resource_bundle_id = l.resource_bundle_id
        WHERE l.resource_bundle_load_id = load_units.resource_bundle_load_id);
DROP INDEX idx_load_units_open;
CREATE INDEX idx_load_units_open
    ON load_units (job_id, wave, file_type, not_before, unit_id, bucket_path_id)
    WHERE state = 'open';
CREATE INDEX idx_load_units_leased_wave ON load_units (job_id, wave) WHERE state = 'leased';

-- Errors of a load in the order of its object, of which units are parts.
DROP INDEX idx_resource_bundle_errors_order;
CREATE INDEX idx_resource_bundle_errors_order
    ON resource_bundle_errors (resource_bundle_load_id, unit_id, input_offset, error_id);
