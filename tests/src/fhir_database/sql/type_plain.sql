-- What only the schema type PLAIN has of one resource type, {t}: all unique keys, and foreign keys.
ALTER TABLE {t}_resources ADD PRIMARY KEY (resource_id);
CREATE UNIQUE INDEX {t}_resources_prf_in1 ON {t}_resources (resource_id);
ALTER TABLE {t}_logical_resources
    ADD CONSTRAINT fk_{t}_logical_resources_id FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE {t}_str_values
    ADD CONSTRAINT fk_{t}_str_values_pnid FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_{t}_str_values_rid FOREIGN KEY (logical_resource_id) REFERENCES {t}_logical_resources;
ALTER TABLE {t}_date_values
    ADD CONSTRAINT fk_{t}_date_values_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_{t}_date_values_r FOREIGN KEY (logical_resource_id) REFERENCES {t}_logical_resources;
ALTER TABLE {t}_number_values
    ADD CONSTRAINT fk_{t}_number_values_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_{t}_number_values_r FOREIGN KEY (logical_resource_id) REFERENCES {t}_logical_resources;
ALTER TABLE {t}_latlng_values
    ADD CONSTRAINT fk_{t}_latlng_values_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_{t}_latlng_values_r FOREIGN KEY (logical_resource_id) REFERENCES {t}_logical_resources;
ALTER TABLE {t}_quantity_values
    ADD CONSTRAINT fk_{t}_quantity_values_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_{t}_quantity_values_r FOREIGN KEY (logical_resource_id) REFERENCES {t}_logical_resources;
ALTER TABLE {t}_resource_token_refs
    ADD CONSTRAINT fk_{t}_resource_token_refs_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_{t}_resource_token_refs_tv FOREIGN KEY (common_token_value_id) REFERENCES common_token_values,
    ADD CONSTRAINT fk_{t}_resource_token_refs_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE {t}_ref_values
    ADD CONSTRAINT fk_{t}_ref_values_pn FOREIGN KEY (parameter_name_id) REFERENCES parameter_names,
    ADD CONSTRAINT fk_{t}_ref_values_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE {t}_profiles
    ADD CONSTRAINT fk_{t}_profiles_cid FOREIGN KEY (canonical_id) REFERENCES common_canonical_values,
    ADD CONSTRAINT fk_{t}_profiles_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE {t}_tags
    ADD CONSTRAINT fk_{t}_tags_tv FOREIGN KEY (common_token_value_id) REFERENCES common_token_values,
    ADD CONSTRAINT fk_{t}_tags_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
ALTER TABLE {t}_security
    ADD CONSTRAINT fk_{t}_security_tv FOREIGN KEY (common_token_value_id) REFERENCES common_token_values,
    ADD CONSTRAINT fk_{t}_security_lr FOREIGN KEY (logical_resource_id) REFERENCES logical_resources;
