#!/usr/bin/env bash

JAR="~/git/FHIR/fhir-bucket/target/fhir-bucket-*-SNAPSHOT-cli.jar"

java -jar "${JAR}"                     \
  --bootstrap-schema                   \
  --db-type postgresql                 \
  --db-properties postgres.properties  \
  --cos-properties cos.properties      \
  --fhir-properties fhir.properties    \
  --bucket example-bucket              \
  --tenant-name example-tenant         \
  --file-type NDJSON                   \
  --max-concurrent-fhir-requests 40    \
  --max-concurrent-json-files 10       \
  --max-concurrent-ndjson-files 1      \
  --connection-pool-size 20            \
  --incremental
