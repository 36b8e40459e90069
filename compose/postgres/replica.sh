#!/bin/bash
# A PostgreSQL server that follows another one, PRIMARY, and can be read. It copies the other's data at its first start alone: after
# a restart it goes on where it was. If it was away for so long that the primary has thrown away what is missing, remove its volume.
set -euo pipefail

# Written last, after a copy that is whole; one that was interrupted begins anew.
if [ ! -e "$PGDATA/copy-is-whole" ]; then
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  PGPASSWORD=$(cat /run/secrets/replicator-password)
  export PGPASSWORD
  until find "$PGDATA" -mindepth 1 -delete && pg_basebackup -h "$PRIMARY" -U replicator -D "$PGDATA" -X stream -c fast -R; do
    echo "waiting for $PRIMARY" >&2
    sleep 2
  done
  touch "$PGDATA/copy-is-whole"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections="${MAX_CONNECTIONS:-200}" \
  -c max_wal_senders=10 -c max_replication_slots=10 -c hot_standby=on
