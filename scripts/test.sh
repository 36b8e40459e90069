#!/usr/bin/env bash
# Runs every test. Starts the real servers they need, stops those it started, keeps the exit code of the tests.
# usage: scripts/test.sh [CARGO TEST ARGUMENT...]      needs Debian or Ubuntu, and root or sudo for what it installs
set -euo pipefail
cd "$(dirname "$0")/.."

started=()
stop_started() {
  local code=$? index
  # Tests stop the HAPI FHIR servers they start; tests that were interrupted could not.
  tests/parts/hapi-fhir.sh stop-left || code=1
  for ((index = ${#started[@]} - 1; index >= 0; index--)); do
    "tests/parts/${started[index]}.sh" stop || code=1
  done
  exit "$code"
}
export STOKER_HAPI_OWNER=$$
trap stop_started EXIT

tests/parts/postgres.sh install
if ! tests/parts/postgres.sh running; then
  echo "test: starting postgres" >&2
  started+=(postgres)
  tests/parts/postgres.sh start
fi
eval "$(tests/parts/postgres.sh env)"
tests/parts/postgres14.sh install
eval "$(tests/parts/postgres14.sh env)"
tests/parts/pgbouncer.sh install
eval "$(tests/parts/pgbouncer.sh env)"
tests/parts/pgbackrest.sh install
eval "$(tests/parts/pgbackrest.sh env)"

# The tests start HAPI FHIR themselves, each on an empty database.
tests/parts/hapi-fhir.sh install

# So do they MinIO and Kafka, which some of them kill.
tests/parts/minio.sh install
eval "$(tests/parts/minio.sh env)"
tests/parts/kafka.sh install

# Asks the services' gRPC as people do.
tests/parts/grpcurl.sh install
eval "$(tests/parts/grpcurl.sh env)"

# Put the manifests together, check them, test the alert rules, and ask what the dashboards ask.
for part in kustomize kubernetes-validate prometheus; do
  tests/parts/$part.sh install
  eval "$(tests/parts/$part.sh env)"
done

# What is delivered runs on an engine of its own; the peers of compose/ are the servers installed above, and those that peers.sh brings.
for part in docker peers cyclonedx cargo-deny; do
  tests/parts/$part.sh install
done
if ! tests/parts/docker.sh running; then
  echo "test: starting docker" >&2
  started+=(docker)
  tests/parts/docker.sh start
fi
tests/parts/peers.sh image
for part in docker peers; do
  eval "$(tests/parts/$part.sh env)"
done

# Young people have short records: the tests want all resource types, not many resources.
eval "$(tests/parts/synthea.sh env)"
tests/parts/synthea.sh install
tests/parts/synthea.sh generate "$STOKER_TEST_SYNTHEA" 6 -a 0-20

# Tests wait most of their time, and many take turns: with a thread for each core, who waits for a turn leaves a core idle.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}

# The tests start the `stoker` program; asked for together with them it is built only once.
cargo build --workspace --bins --tests
cargo test --workspace "$@"
