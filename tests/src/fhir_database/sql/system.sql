-- What all resource types share, in both schema types. {parameters} stands for the storage of parameter tables.
CREATE SEQUENCE fhir_sequence AS BIGINT START WITH 1 INCREMENT BY 1 CACHE 1000 NO CYCLE;
CREATE SEQUENCE fhir_ref_sequence AS BIGINT START WITH 20000 INCREMENT BY 1 CACHE 1000 NO CYCLE;
CREATE SEQUENCE references_sequence AS BIGINT START WITH 1 INCREMENT BY 20 CACHE 1000 NO CYCLE;

CREATE TABLE resource_types (
    resource_type_id INT NOT NULL CONSTRAINT resource_types_pk PRIMARY KEY,
    resource_type VARCHAR(64) NOT NULL,
    retired CHAR(1) NOT NULL DEFAULT 'N'
);
CREATE UNIQUE INDEX idx_unq_resource_types_rt ON resource_types (resource_type);

CREATE TABLE parameter_names (
    parameter_name_id INT NOT NULL CONSTRAINT parameter_names_pk PRIMARY KEY,
    parameter_name VARCHAR(255) NOT NULL
);
CREATE UNIQUE INDEX idx_parameter_name_rtnm ON parameter_names (parameter_name);

CREATE TABLE code_systems (
    code_system_id INT NOT NULL CONSTRAINT code_systems_pk PRIMARY KEY,
    code_system_name VARCHAR(255) NOT NULL
);
CREATE UNIQUE INDEX idx_code_system_cinm ON code_systems (code_system_name);

CREATE TABLE common_canonical_values (
    canonical_id BIGINT NOT NULL CONSTRAINT common_canonical_values_pk PRIMARY KEY,
    url VARCHAR(1024) NOT NULL
);
CREATE UNIQUE INDEX unq_common_canonical_values_url ON common_canonical_values (url);

CREATE TABLE logical_resource_ident (
    resource_type_id INT NOT NULL,
    logical_id VARCHAR(1024) NOT NULL,
    logical_resource_id BIGINT NOT NULL,
    CONSTRAINT logical_resource_ident_pk PRIMARY KEY (logical_id, resource_type_id)
) {parameters};
CREATE INDEX idx_logical_resource_ident_lrid ON logical_resource_ident (logical_resource_id);

CREATE TABLE logical_resources (
    logical_resource_id BIGINT NOT NULL CONSTRAINT logical_resources_pk PRIMARY KEY,
    resource_type_id INT NOT NULL,
    logical_id VARCHAR(255) NOT NULL,
    reindex_tstamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    reindex_txid BIGINT NOT NULL DEFAULT 0,
    last_updated TIMESTAMP,
    is_deleted CHAR(1) NOT NULL DEFAULT 'X',
    parameter_hash VARCHAR(44)
) {parameters};
CREATE INDEX idx_logical_resources_rits ON logical_resources (reindex_tstamp DESC);
CREATE INDEX idx_logical_resources_lupd ON logical_resources (last_updated);

CREATE TABLE str_values (
    parameter_name_id INT NOT NULL,
    str_value VARCHAR(1024),
    str_value_lcase VARCHAR(1024),
    logical_resource_id BIGINT NOT NULL
) {parameters};
CREATE INDEX idx_str_values_psr ON str_values (parameter_name_id, str_value, logical_resource_id);
CREATE INDEX idx_str_values_plr ON str_values (parameter_name_id, str_value_lcase, logical_resource_id);
CREATE INDEX idx_str_values_rps ON str_values (logical_resource_id, parameter_name_id, str_value);
CREATE INDEX idx_str_values_rpl ON str_values (logical_resource_id, parameter_name_id, str_value_lcase);

CREATE TABLE date_values (
    parameter_name_id INT NOT NULL,
    date_start TIMESTAMP,
    date_end TIMESTAMP,
    logical_resource_id BIGINT NOT NULL
) {parameters};
CREATE INDEX idx_date_values_pser ON date_values (parameter_name_id, date_start, date_end, logical_resource_id);
CREATE INDEX idx_date_values_pesr ON date_values (parameter_name_id, date_end, date_start, logical_resource_id);
CREATE INDEX idx_date_values_rpse ON date_values (logical_resource_id, parameter_name_id, date_start, date_end);

CREATE TABLE resource_token_refs (
    parameter_name_id INT NOT NULL,
    common_token_value_id BIGINT,
    logical_resource_id BIGINT NOT NULL
) {parameters};
CREATE INDEX idx_resource_token_refs_tplr ON resource_token_refs (common_token_value_id, parameter_name_id, logical_resource_id);
CREATE INDEX idx_resource_token_refs_lrpt ON resource_token_refs (logical_resource_id, parameter_name_id, common_token_value_id);

CREATE TABLE logical_resource_profiles (
    canonical_id BIGINT NOT NULL,
    logical_resource_id BIGINT NOT NULL,
    version VARCHAR(16),
    fragment VARCHAR(16)
) {parameters};
CREATE INDEX idx_logical_resource_profiles_ccvlr ON logical_resource_profiles (canonical_id, logical_resource_id);
CREATE INDEX idx_logical_resource_profiles_lrccv ON logical_resource_profiles (logical_resource_id, canonical_id);

CREATE TABLE logical_resource_tags (
    common_token_value_id BIGINT NOT NULL,
    logical_resource_id BIGINT NOT NULL
) {parameters};
CREATE INDEX idx_logical_resource_tags_ccvlr ON logical_resource_tags (common_token_value_id, logical_resource_id);
CREATE INDEX idx_logical_resource_tags_lrccv ON logical_resource_tags (logical_resource_id, common_token_value_id);

CREATE TABLE logical_resource_security (
    common_token_value_id BIGINT NOT NULL,
    logical_resource_id BIGINT NOT NULL
) {parameters};
CREATE INDEX idx_logical_resource_security_ccvlr ON logical_resource_security (common_token_value_id, logical_resource_id);
CREATE INDEX idx_logical_resource_security_lrccv ON logical_resource_security (logical_resource_id, common_token_value_id);

CREATE TABLE resource_change_log (
    resource_id BIGINT NOT NULL PRIMARY KEY,
    resource_type_id INT NOT NULL,
    logical_resource_id BIGINT NOT NULL,
    change_tstamp TIMESTAMP NOT NULL,
    version_id INT NOT NULL,
    change_type CHAR(1) NOT NULL
);

CREATE TABLE erased_resources (
    erased_resource_group_id BIGINT NOT NULL,
    resource_type_id INT NOT NULL,
    logical_id VARCHAR(255) NOT NULL,
    version_id INT
) {parameters};
CREATE INDEX idx_erased_resources_gid ON erased_resources (erased_resource_group_id);
