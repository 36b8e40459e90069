#!/bin/bash
# A PostgreSQL server that makes its databases at its first start: for each name in DATABASES one, owned by a user of that name, whose
# password is in /run/secrets/NAME-password. With REPLICATION=on it has the user replicator and can be followed.
set -euo pipefail

secret() { cat "/run/secrets/$1"; }

make_databases() {
  initdb --username=postgres --encoding=UTF8 --locale=C --data-checksums --auth-local=trust --auth-host=scram-sha-256 \
    --pwfile=/run/secrets/postgres-password >/dev/null
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo 'host replication replicator all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  # Nobody can connect over the network before all is made.
  pg_ctl --silent --wait -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
  local name
  for name in $DATABASES; do
    sql "CREATE ROLE $name LOGIN PASSWORD :'password'" "$(secret "$name-password")"
    sql "CREATE DATABASE $name OWNER $name" ""
  done
  [ "${REPLICATION:-off}" = off ] || sql "CREATE ROLE replicator REPLICATION LOGIN PASSWORD :'password'" "$(secret replicator-password)"
  pg_ctl --silent --wait --mode=fast stop
  touch "$PGDATA/databases-are-made"
}

# sql TEXT PASSWORD: the password comes by standard input, where no list of processes shows it.
sql() {
  printf "\\\\set password '%s'\n%s;\n" "$2" "$1" | psql --quiet --no-psqlrc --set=ON_ERROR_STOP=1 -h /tmp -U postgres -d postgres
}

# A first start that was interrupted begins anew.
if [ ! -e "$PGDATA/databases-are-made" ]; then
  mkdir -p "$PGDATA"
  find "$PGDATA" -mindepth 1 -delete
  make_databases
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections="${MAX_CONNECTIONS:-200}" \
  -c wal_level=replica -c max_wal_senders=10 -c max_replication_slots=10 -c max_slot_wal_keep_size=2GB -c hot_standby=on
