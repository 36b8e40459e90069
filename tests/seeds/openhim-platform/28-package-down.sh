./instant-linux package down -n=fhir-datastore-hapi-fhir --env-file=.env.*
