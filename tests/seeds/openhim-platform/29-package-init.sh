./instant-linux package init -n=fhir-datastore-hapi-fhir --env-file=.env.*
