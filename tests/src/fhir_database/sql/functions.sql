-- The server's functions that an indexer calls or meets; {schema} stands for the schema.
CREATE FUNCTION add_parameter_name(p_name VARCHAR(255)) RETURNS INT LANGUAGE plpgsql SET search_path = {schema} AS $$
DECLARE
    v_id INT;
BEGIN
    SELECT parameter_name_id INTO v_id FROM parameter_names WHERE parameter_name = p_name;
    IF v_id IS NULL THEN
        INSERT INTO parameter_names VALUES (nextval('fhir_ref_sequence'), p_name) ON CONFLICT DO NOTHING;
        SELECT parameter_name_id INTO v_id FROM parameter_names WHERE parameter_name = p_name;
    END IF;
    RETURN v_id;
END $$;

CREATE FUNCTION add_code_system(p_name VARCHAR(255)) RETURNS INT LANGUAGE plpgsql SET search_path = {schema} AS $$
DECLARE
    v_id INT;
BEGIN
    SELECT code_system_id INTO v_id FROM code_systems WHERE code_system_name = p_name;
    IF v_id IS NULL THEN
        INSERT INTO code_systems VALUES (nextval('fhir_ref_sequence'), p_name) ON CONFLICT DO NOTHING;
        SELECT code_system_id INTO v_id FROM code_systems WHERE code_system_name = p_name;
    END IF;
    RETURN v_id;
END $$;

CREATE FUNCTION add_resource_type(p_name VARCHAR(64)) RETURNS INT LANGUAGE plpgsql SET search_path = {schema} AS $$
DECLARE
    v_id INT;
BEGIN
    SELECT resource_type_id INTO v_id FROM resource_types WHERE resource_type = p_name;
    IF v_id IS NULL THEN
        INSERT INTO resource_types VALUES (nextval('fhir_ref_sequence'), p_name) ON CONFLICT DO NOTHING;
        SELECT resource_type_id INTO v_id FROM resource_types WHERE resource_type = p_name;
    END IF;
    RETURN v_id;
END $$;

CREATE FUNCTION delete_resource_parameters(p_resource_type VARCHAR(36), p_logical_resource_id BIGINT) RETURNS BIGINT
LANGUAGE plpgsql SET search_path = {schema} AS $$
DECLARE
    v_table TEXT;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['str_values', 'number_values', 'date_values', 'latlng_values', 'resource_token_refs',
        'quantity_values', 'profiles', 'tags', 'security', 'ref_values'] LOOP
        EXECUTE format('DELETE FROM %I WHERE logical_resource_id = $1', lower(p_resource_type) || '_' || v_table)
            USING p_logical_resource_id;
    END LOOP;
    DELETE FROM str_values WHERE logical_resource_id = p_logical_resource_id;
    DELETE FROM date_values WHERE logical_resource_id = p_logical_resource_id;
    DELETE FROM resource_token_refs WHERE logical_resource_id = p_logical_resource_id;
    DELETE FROM logical_resource_profiles WHERE logical_resource_id = p_logical_resource_id;
    DELETE FROM logical_resource_tags WHERE logical_resource_id = p_logical_resource_id;
    DELETE FROM logical_resource_security WHERE logical_resource_id = p_logical_resource_id;
    RETURN p_logical_resource_id;
END $$;

CREATE FUNCTION erase_resource(p_resource_type VARCHAR(36), p_logical_id VARCHAR(255), p_group_id BIGINT) RETURNS BIGINT
LANGUAGE plpgsql SET search_path = {schema} AS $$
DECLARE
    v_type_id INT;
    v_id BIGINT;
    v_versions BIGINT;
    v_t TEXT := lower(p_resource_type);
BEGIN
    SELECT l.logical_resource_id, l.resource_type_id INTO v_id, v_type_id
    FROM logical_resources l JOIN resource_types USING (resource_type_id)
    WHERE resource_type = p_resource_type AND l.logical_id = p_logical_id FOR UPDATE OF l;
    IF v_id IS NULL THEN
        RETURN -1;
    END IF;
    EXECUTE format('INSERT INTO erased_resources SELECT $1, $2, $3, version_id FROM %I WHERE logical_resource_id = $4',
        v_t || '_resources') USING p_group_id, v_type_id, p_logical_id, v_id;
    GET DIAGNOSTICS v_versions = ROW_COUNT;
    DELETE FROM resource_change_log WHERE logical_resource_id = v_id;
    EXECUTE format('DELETE FROM %I WHERE logical_resource_id = $1', v_t || '_resources') USING v_id;
    PERFORM delete_resource_parameters(p_resource_type, v_id);
    EXECUTE format('DELETE FROM %I WHERE logical_resource_id = $1', v_t || '_logical_resources') USING v_id;
    DELETE FROM logical_resources WHERE logical_resource_id = v_id;
    RETURN v_versions;
END $$;
