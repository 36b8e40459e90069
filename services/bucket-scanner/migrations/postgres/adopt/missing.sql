-- How many of the columns that the Java fhir-bucket gives its tables (version 1) are not here.
SELECT COUNT(*)
FROM (VALUES
    ('loader_instances', '{loader_instance_id,loader_instance_key,hostname,pid,heartbeat_tstamp,status}'),
    ('bucket_paths', '{bucket_path_id,bucket_name,bucket_path}'),
    ('resource_bundles', '{resource_bundle_id,bucket_path_id,object_name,object_size,file_type,etag,last_modified,scan_tstamp,version,allocation_id,loader_instance_id}'),
    ('resource_bundle_loads', '{resource_bundle_load_id,resource_bundle_id,allocation_id,loader_instance_id,version,load_started,load_completed,rows_processed,failure_count}'),
    ('resource_types', '{resource_type_id,resource_type}'),
    ('logical_resources', '{logical_resource_id,resource_type_id,logical_id,resource_bundle_load_id,line_number,created_tstamp,response_time_ms}'),
    ('resource_bundle_errors', '{resource_bundle_load_id,line_number,error_text,error_tstamp,response_time_ms,http_status_code,http_status_text}')
) AS wanted (table_name, column_names)
CROSS JOIN LATERAL unnest(column_names::TEXT[]) AS column_name
WHERE NOT EXISTS (
    SELECT 1 FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = column_name
    WHERE c.relname = table_name AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
)
