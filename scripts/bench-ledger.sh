#!/usr/bin/env bash
# Runs bench-ledger on a PostgreSQL of its own that, unlike that of the tests, has what it acknowledges on disk.
# usage: scripts/bench-ledger.sh [ARGUMENT OF bench-ledger...]      needs what tests/parts/postgres.sh needs
set -euo pipefail
cd "$(dirname "$0")/.."

export STOKER_POSTGRES_PORT=${STOKER_POSTGRES_PORT:-15499}
cargo build --release -p stoker -p stoker-bench
tests/parts/postgres.sh install
trap 'tests/parts/postgres.sh stop' EXIT
# The rest as PostgreSQL's manual would have it on a small server, not as its package leaves it.
export STOKER_POSTGRES_SETTINGS='shared_buffers = 1GB
max_wal_size = 4GB'
STOKER_POSTGRES_FSYNC=on tests/parts/postgres.sh start
eval "$(tests/parts/postgres.sh env)"
"${CARGO_TARGET_DIR:-target}/release/bench-ledger" "$@"
