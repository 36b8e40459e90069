-- What differs in the schema type DISTRIBUTED of one resource type, {t}: versions have no unique key.
CREATE INDEX {t}_resources_prf_in1 ON {t}_resources (resource_id);
