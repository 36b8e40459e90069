-- The tables of one resource type, {t}, in both schema types.
CREATE TABLE {t}_logical_resources (
    logical_resource_id BIGINT NOT NULL PRIMARY KEY,
    logical_id VARCHAR(255) NOT NULL,
    current_resource_id BIGINT,
    is_deleted CHAR(1) NOT NULL DEFAULT 'X',
    last_updated TIMESTAMP,
    version_id INT
) {parameters};
CREATE INDEX idx_{t}_logical_resourceslogical_id ON {t}_logical_resources (logical_id);
CREATE INDEX idx_{t}_logical_resourcescurrent_resource_id ON {t}_logical_resources (current_resource_id);

CREATE TABLE {t}_resources (
    resource_id BIGINT NOT NULL,
    logical_resource_id BIGINT NOT NULL,
    version_id INT NOT NULL,
    last_updated TIMESTAMP NOT NULL,
    is_deleted CHAR(1) NOT NULL,
    data BYTEA,
    resource_payload_key VARCHAR(36)
);
CREATE INDEX idx_{t}_resourceslogical_resource_id ON {t}_resources (logical_resource_id);
CREATE INDEX idx_{t}_resources_lupd ON {t}_resources (last_updated);

CREATE TABLE {t}_str_values (
    parameter_name_id INT NOT NULL,
    str_value VARCHAR(1024),
    str_value_lcase VARCHAR(1024),
    logical_resource_id BIGINT NOT NULL,
    composite_id INT
) {parameters};
CREATE INDEX idx_{t}_str_values_psr ON {t}_str_values (parameter_name_id, str_value, logical_resource_id);
CREATE INDEX idx_{t}_str_values_plr ON {t}_str_values (parameter_name_id, str_value_lcase, logical_resource_id);
CREATE INDEX idx_{t}_str_values_rps ON {t}_str_values (logical_resource_id, parameter_name_id, str_value);
CREATE INDEX idx_{t}_str_values_rpl ON {t}_str_values (logical_resource_id, parameter_name_id, str_value_lcase);

CREATE TABLE {t}_date_values (
    parameter_name_id INT NOT NULL,
    date_start TIMESTAMP,
    date_end TIMESTAMP,
    logical_resource_id BIGINT NOT NULL,
    composite_id INT
) {parameters};
CREATE INDEX idx_{t}_date_values_pser ON {t}_date_values (parameter_name_id, date_start, date_end, logical_resource_id);
CREATE INDEX idx_{t}_date_values_pesr ON {t}_date_values (parameter_name_id, date_end, date_start, logical_resource_id);
CREATE INDEX idx_{t}_date_values_rpse ON {t}_date_values (logical_resource_id, parameter_name_id, date_start, date_end);

CREATE TABLE {t}_number_values (
    parameter_name_id INT NOT NULL,
    number_value DOUBLE PRECISION,
    number_value_low DOUBLE PRECISION,
    number_value_high DOUBLE PRECISION,
    logical_resource_id BIGINT NOT NULL,
    composite_id INT
) {parameters};
CREATE INDEX idx_{t}_number_values_pnnv ON {t}_number_values (parameter_name_id, number_value, logical_resource_id);
CREATE INDEX idx_{t}_number_values_rps ON {t}_number_values (logical_resource_id, parameter_name_id, number_value);

CREATE TABLE {t}_latlng_values (
    parameter_name_id INT NOT NULL,
    latitude_value DOUBLE PRECISION,
    longitude_value DOUBLE PRECISION,
    logical_resource_id BIGINT NOT NULL,
    composite_id INT
) {parameters};
CREATE INDEX idx_{t}_latlng_values_pnnlv ON {t}_latlng_values (parameter_name_id, latitude_value, logical_resource_id);
CREATE INDEX idx_{t}_latlng_values_pnnhv ON {t}_latlng_values (parameter_name_id, longitude_value, logical_resource_id);
CREATE INDEX idx_{t}_latlng_values_rplat ON {t}_latlng_values (logical_resource_id, parameter_name_id, latitude_value);
CREATE INDEX idx_{t}_latlng_values_rplng ON {t}_latlng_values (logical_resource_id, parameter_name_id, longitude_value);

CREATE TABLE {t}_quantity_values (
    parameter_name_id INT NOT NULL,
    code VARCHAR(255) NOT NULL,
    quantity_value DOUBLE PRECISION,
    quantity_value_low DOUBLE PRECISION,
    quantity_value_high DOUBLE PRECISION,
    code_system_id INT,
    logical_resource_id BIGINT NOT NULL,
    composite_id INT
) {parameters};
CREATE INDEX idx_{t}_quantity_values_pnnv ON {t}_quantity_values (parameter_name_id, code, quantity_value, logical_resource_id, code_system_id);
CREATE INDEX idx_{t}_quantity_values_rps ON {t}_quantity_values (logical_resource_id, parameter_name_id, code, quantity_value, code_system_id);
CREATE INDEX idx_{t}_quantity_values_pclhsr ON {t}_quantity_values
    (parameter_name_id, code, quantity_value_low, quantity_value_high, code_system_id, logical_resource_id);
CREATE INDEX idx_{t}_quantity_values_pchlsr ON {t}_quantity_values
    (parameter_name_id, code, quantity_value_high, quantity_value_low, code_system_id, logical_resource_id);
CREATE INDEX idx_{t}_quantity_values_rpclhs ON {t}_quantity_values
    (logical_resource_id, parameter_name_id, code, quantity_value_low, quantity_value_high, code_system_id);
CREATE INDEX idx_{t}_quantity_values_rpchls ON {t}_quantity_values
    (logical_resource_id, parameter_name_id, code, quantity_value_high, quantity_value_low, code_system_id);

CREATE TABLE {t}_resource_token_refs (
    parameter_name_id INT NOT NULL,
    common_token_value_id BIGINT,
    logical_resource_id BIGINT NOT NULL,
    composite_id INT
) {parameters};
CREATE INDEX idx_{t}_resource_token_refs_tplr ON {t}_resource_token_refs (common_token_value_id, parameter_name_id, logical_resource_id);
CREATE INDEX idx_{t}_resource_token_refs_lrpt ON {t}_resource_token_refs (logical_resource_id, parameter_name_id, common_token_value_id);

CREATE TABLE {t}_ref_values (
    parameter_name_id INT NOT NULL,
    logical_resource_id BIGINT NOT NULL,
    ref_logical_resource_id BIGINT,
    ref_version_id INT,
    composite_id INT
) {parameters};
CREATE INDEX idx_{t}_ref_values_rfpn ON {t}_ref_values (ref_logical_resource_id, parameter_name_id);
CREATE INDEX idx_{t}_ref_values_lrpn ON {t}_ref_values (logical_resource_id, parameter_name_id);

CREATE TABLE {t}_profiles (
    canonical_id BIGINT NOT NULL,
    logical_resource_id BIGINT NOT NULL,
    version VARCHAR(16),
    fragment VARCHAR(16)
) {parameters};
CREATE INDEX idx_{t}_profiles_tplr ON {t}_profiles (canonical_id, logical_resource_id);
CREATE INDEX idx_{t}_profiles_lrpt ON {t}_profiles (logical_resource_id, canonical_id);

CREATE TABLE {t}_tags (
    common_token_value_id BIGINT NOT NULL,
    logical_resource_id BIGINT NOT NULL
) {parameters};
CREATE INDEX idx_{t}_tags_tplr ON {t}_tags (common_token_value_id, logical_resource_id);
CREATE INDEX idx_{t}_tags_lrpt ON {t}_tags (logical_resource_id, common_token_value_id);

CREATE TABLE {t}_security (
    common_token_value_id BIGINT NOT NULL,
    logical_resource_id BIGINT NOT NULL
) {parameters};
CREATE INDEX idx_{t}_security_tplr ON {t}_security (common_token_value_id, logical_resource_id);
CREATE INDEX idx_{t}_security_lrpt ON {t}_security (logical_resource_id, common_token_value_id);

CREATE VIEW {t}_token_values_v AS
SELECT r.parameter_name_id, c.code_system_id, c.token_value, r.logical_resource_id, r.common_token_value_id, r.composite_id
FROM {t}_resource_token_refs r JOIN common_token_values c USING (common_token_value_id);
CREATE VIEW {t}_ref_values_v AS
SELECT r.parameter_name_id, i.resource_type_id, i.logical_id, r.logical_resource_id, r.ref_version_id, r.ref_logical_resource_id,
    r.composite_id, i.logical_id AS ref_value
FROM {t}_ref_values r JOIN logical_resource_ident i ON i.logical_resource_id = r.ref_logical_resource_id;
