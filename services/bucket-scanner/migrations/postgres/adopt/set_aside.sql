-- Makes room for the ledger's own tables: those of the Java fhir-bucket, their indexes and their
-- sequences get other names. They are locked from here on, so that nobody changes them meanwhile.
SET LOCAL lock_timeout = '10s';
LOCK TABLE loader_instances, bucket_paths, resource_bundles, resource_bundle_loads, resource_types,
    logical_resources, resource_bundle_errors IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout TO DEFAULT;

DO $$
DECLARE
    named RECORD;
BEGIN
    FOR named IN
        SELECT c.oid, c.relname, c.relkind FROM pg_class c
        WHERE c.relnamespace = current_schema()::REGNAMESPACE AND (
            c.oid IN (SELECT x.indexrelid FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid
                WHERE t.relnamespace = c.relnamespace AND t.relname IN ('loader_instances',
                    'bucket_paths', 'resource_bundles', 'resource_bundle_loads', 'resource_types',
                    'logical_resources', 'resource_bundle_errors'))
            OR c.oid IN (SELECT d.objid FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid
                WHERE d.deptype = 'i' AND t.relnamespace = c.relnamespace AND t.relname IN (
                    'loader_instances', 'bucket_paths', 'resource_bundles',
                    'resource_bundle_loads', 'resource_types', 'logical_resources'))
                AND c.relkind = 'S')
    LOOP
        EXECUTE format('ALTER %s %I RENAME TO %I',
            CASE named.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'INDEX' END,
            named.relname, 'java_' || named.oid);
    END LOOP;
END
$$;

ALTER TABLE loader_instances RENAME TO java_loader_instances;
ALTER TABLE bucket_paths RENAME TO java_bucket_paths;
ALTER TABLE resource_bundles RENAME TO java_resource_bundles;
ALTER TABLE resource_bundle_loads RENAME TO java_resource_bundle_loads;
ALTER TABLE resource_types RENAME TO java_resource_types;
ALTER TABLE logical_resources RENAME TO java_logical_resources;
ALTER TABLE resource_bundle_errors RENAME TO java_resource_bundle_errors;
