#!/usr/bin/env bash

JAR="~/git/FHIR/fhir-bucket/target/fhir-bucket-*-SNAPSHOT-cli.jar"

java -jar "${JAR}"                    \
  --db-type postgresql                \
  --db-properties postgres.properties \
  --create-schema
