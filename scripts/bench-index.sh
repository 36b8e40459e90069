#!/usr/bin/env bash
# Runs bench-index on a PostgreSQL of its own with the settings that initdb leaves: what it acknowledges is on disk.
# usage: scripts/bench-index.sh [ARGUMENT OF bench-index...]      needs what tests/parts/postgres.sh and kafka.sh need
set -euo pipefail
cd "$(dirname "$0")/.."

export STOKER_POSTGRES_PORT=${STOKER_POSTGRES_PORT:-15498}
cargo build --release -p stoker -p stoker-bench
tests/parts/postgres.sh install
tests/parts/kafka.sh install
trap 'tests/parts/postgres.sh stop' EXIT
STOKER_POSTGRES_FSYNC=on tests/parts/postgres.sh start
eval "$(tests/parts/postgres.sh env)"
"${CARGO_TARGET_DIR:-target}/release/bench-index" "$@"
