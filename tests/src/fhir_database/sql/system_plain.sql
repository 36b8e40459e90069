-- What only the schema type PLAIN has: all unique keys, and foreign keys.
CREATE UNIQUE INDEX unq_logical_resources ON logical_resources (resource_type_id, logical_id);
CREATE UNIQUE INDEX unq_resource_change_log_ctrtri ON resource_change_log (change_tstamp, resource_type_id, resource_id);

CREATE TABLE common_token_values (
    common_token_value_id BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY CONSTRAINT common_token_values_pk PRIMARY KEY,
    code_system_id INT NOT NULL CONSTRAINT fk_common_token_values_csid REFERENCES code_systems,
    token_value VARCHAR(1024) NOT NULL
);
CREATE UNIQUE INDEX idx_common_token_values_tvcp ON common_token_values (token_value, code_system_id);

ALTER TABLE logical_resource_ident ADD CONSTRAINT fk_logical_resource_ident_rtid FOREIGN KEY (resource_type_id) REFERENCES resource_types;
ALTER TABLE logical_resources ADD CONSTRAINT fk_logical_resources_rtid FOREIGN KEY (resource_type_id) REFERENCES resource_types;
ALTER TABLE erased_resources ADD CONSTRAINT fk_erased_resources_rtid FOREIGN KEY (resource_type_id) REFERENCES resource_types;
ALTER TABLE str_values
    ADD CONSTRAINT fk_str_values_pnid FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_str_values_rid FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE date_values
    ADD CONSTRAINT fk_date_values_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_date_values_r FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE resource_token_refs
    ADD CONSTRAINT fk_resource_token_refs_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_resource_token_refs_tv FOREIGN KEY (common_token_value_id) REFERENCES common_token_values,
    ADD CONSTRAINT fk_resource_token_refs_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE logical_resource_profiles
    ADD CONSTRAINT fk_logical_resource_profiles_cid FOREIGN KEY (canonical_id) REFERENCES common_canonical_values,
    ADD CONSTRAINT fk_logical_resource_profiles_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE logical_resource_tags
    ADD CONSTRAINT fk_logical_resource_tags_tv FOREIGN KEY (common_token_value_id) REFERENCES common_token_values,
    ADD CONSTRAINT fk_logical_resource_tags_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE logical_resource_security
    ADD CONSTRAINT fk_logical_resource_security_tv FOREIGN KEY (common_token_value_id) REFERENCES common_token_values,
    ADD CONSTRAINT fk_logical_resource_security_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
