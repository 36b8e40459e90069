-- A table of the Java fhir-bucket that the user may not rename and drop, and whose it is.
SELECT relname || ', a table of ' || pg_get_userbyid(relowner)
FROM pg_class
WHERE relnamespace = current_schema()::REGNAMESPACE AND relkind IN ('r', 'p', 'S')
    AND relname IN ('loader_instances', 'bucket_paths', 'resource_bundles',
        'resource_bundle_loads', 'resource_types', 'logical_resources', 'resource_bundle_errors',
        'job_allocation_seq')
    AND NOT pg_has_role(relowner, 'USAGE')
ORDER BY relname LIMIT 1
