-- What differs in the schema type DISTRIBUTED: keys that lack the column by which a table is spread are not unique, and
-- nothing has a foreign key.
CREATE INDEX unq_logical_resources ON logical_resources (resource_type_id, logical_id);
CREATE UNIQUE INDEX unq_resource_change_log_ctrtri ON resource_change_log (change_tstamp, resource_type_id, resource_id);

CREATE TABLE common_token_values (
    common_token_value_id BIGINT NOT NULL,
    code_system_id INT NOT NULL,
    token_value VARCHAR(1024) NOT NULL,
    CONSTRAINT common_token_values_pk PRIMARY KEY (token_value, code_system_id)
);
