-- Objects that no worker has taken yet need no place in it.
DROP INDEX idx_resource_bundle_allocid;
CREATE INDEX idx_resource_bundle_allocid ON resource_bundles (allocation_id)
    WHERE allocation_id IS NOT NULL;
