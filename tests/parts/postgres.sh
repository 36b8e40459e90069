#!/usr/bin/env bash
# PostgreSQL 15 for tests, on 127.0.0.1:15432. Every start makes an empty server: nothing in it is kept.
# usage: postgres.sh install|start|stop|running|env
set -euo pipefail
. "$(dirname "$0")/lib.sh"

port=${STOKER_POSTGRES_PORT:-15432}
bin=/usr/lib/postgresql/15/bin

# PostgreSQL refuses to run as root and user postgres may not enter root's home.
as_server=()
home=$STOKER_PARTS/postgres-$port
if is_root && id postgres >/dev/null 2>&1; then
  as_server=(setpriv --reuid postgres --regid postgres --init-groups)
  mkdir -p "$STOKER_PARTS"
  "${as_server[@]}" test -x "$STOKER_PARTS" || home=/var/lib/postgresql/stoker-parts-$port
fi
data=$home/data
log=$home/server.log

install_() {
  [ ! -x "$bin/postgres" ] || return 0
  # Without this the package would start a server of its own.
  if is_root && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  install_packages postgresql-15
}

# pg_ctl reads its working folder, which user postgres may not be able to enter.
server() { (cd / && "${as_server[@]}" "$bin/$1" "${@:2}"); }

running_() { [ -d "$data" ] && server pg_ctl -D "$data" status >/dev/null 2>&1; }

start_() {
  running_ && return 0
  [ -x "$bin/postgres" ] || fail "PostgreSQL 15 is not installed; run: tests/parts/postgres.sh install"
  need_free_port "$port" STOKER_POSTGRES_PORT
  rm -rf "$home"
  mkdir -p "$home"
  ! is_root || chown postgres "$home"
  server initdb -D "$data" -U postgres --auth=trust -E UTF8 --no-sync >/dev/null
  # Data that is thrown away needs no fsync; tests open many connections.
  cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$home'
max_connections = 200
shared_buffers = 128MB
fsync = off
CONF
  server pg_ctl -w -s -D "$data" -l "$log" start || {
    tail -n 20 "$log" >&2
    fail "PostgreSQL did not start; its log is $log"
  }
}

stop_() {
  running_ || return 0
  server pg_ctl -w -s -m fast -D "$data" stop
}

env_() { echo "export STOKER_TEST_POSTGRES=postgres://postgres@127.0.0.1:$port/postgres"; }

case ${1:-} in
install | start | stop | running | env) "$1_" ;;
*) usage "install|start|stop|running|env" ;;
esac
