#!/usr/bin/env bash

JAR="~/git/FHIR/fhir-bucket/target/fhir-bucket-*-SNAPSHOT-cli.jar"

java -jar "${JAR}"                 \
  --db-type derby                  \
  --db-properties derby.properties \
  --create-schema
