#!/usr/bin/env bash
# Runs bench-backup on a PostgreSQL of its own that has what it acknowledges on disk.
# usage: scripts/bench-backup.sh [ARGUMENT OF bench-backup...]      needs what tests/parts/postgres.sh needs
set -euo pipefail
cd "$(dirname "$0")/.."

export STOKER_POSTGRES_PORT=${STOKER_POSTGRES_PORT:-15497}
cargo build --release -p stoker -p stoker-bench
tests/parts/postgres.sh install
trap 'tests/parts/postgres.sh remove' EXIT
# The rest as PostgreSQL's manual would have it on a small server, not as its package leaves it.
export STOKER_POSTGRES_SETTINGS='shared_buffers = 1GB
max_wal_size = 4GB'
STOKER_POSTGRES_FSYNC=on tests/parts/postgres.sh start
eval "$(tests/parts/postgres.sh env)"
"${CARGO_TARGET_DIR:-target}/release/bench-backup" "$@"
