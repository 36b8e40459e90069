#!/usr/bin/env bash
# PostgreSQL for tests, the newest installed, on 127.0.0.1:15432. Every start makes an empty server: nothing in it is kept.
# STOKER_POSTGRES_BIN names a folder of other programs than those installed.
# With STOKER_POSTGRES_TLS=FOLDER it can be asked for TLS, with FOLDER/server.crt and FOLDER/server.key; remove stops it and deletes it.
# usage: postgres.sh install|start|stop|remove|running|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

port=${STOKER_POSTGRES_PORT:-15432}
oldest_version=12
# Keeps the package from starting a server of its own, while it is installed; the system's own settings stay as they are.
no_server=/etc/postgresql-common/createcluster.d/zz-stoker-parts.conf

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

# The programs of the newest server installed; nothing where there is none.
newest_bin() {
  local version
  while read -r version; do
    if [ "$version" -ge "$oldest_version" ] && [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
      echo "/usr/lib/postgresql/$version/bin"
      return
    fi
  done < <(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -name '[1-9][0-9]' -printf '%f\n' 2>/dev/null | sort -rn)
}
bin=${STOKER_POSTGRES_BIN:-$(newest_bin)}

install_() {
  [ -z "$bin" ] || return 0
  as_root mkdir -p "$(dirname "$no_server")"
  trap 'as_root rm -f "$no_server"' EXIT
  echo 'create_main_cluster = false' | as_root tee "$no_server" >/dev/null
  install_package postgresql
  bin=$(newest_bin)
  [ -n "$bin" ] || fail "the package postgresql brought no server of version $oldest_version or later"
}

# pg_ctl reads its working folder, which user postgres may not be able to enter.
server() { (cd / && "${as_server[@]}" "$bin/$1" "${@:2}"); }

running_() { [ -n "$bin" ] && [ -d "$data" ] && server pg_ctl -D "$data" status >/dev/null 2>&1; }

# The server refuses a key that others than its user may read.
use_tls() {
  local file
  for file in server.crt server.key; do
    install -m 600 "$STOKER_POSTGRES_TLS/$file" "$data/$file"
    ! is_root || chown postgres "$data/$file"
  done
  echo 'ssl = on' >>"$data/postgresql.conf"
}

start_() {
  running_ && return 0
  [ -n "$bin" ] || fail "PostgreSQL $oldest_version or later is not installed; run: tests/parts/postgres.sh install"
  need_free_port "$port" STOKER_POSTGRES_PORT
  rm -rf "$home"
  mkdir -p "$home"
  ! is_root || chown postgres "$home"
  server initdb -D "$data" -U postgres --auth=trust -E UTF8 --no-sync >/dev/null
  # Data that is thrown away needs no fsync, unless its cost is measured; tests open many connections.
  cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$home'
max_connections = 200
shared_buffers = 128MB
fsync = ${STOKER_POSTGRES_FSYNC:-off}
${STOKER_POSTGRES_SETTINGS:-}
CONF
  [ -z "${STOKER_POSTGRES_TLS:-}" ] || use_tls
  server pg_ctl -w -s -D "$data" -l "$log" start || {
    tail -n 20 "$log" >&2
    fail "PostgreSQL did not start; its log is $log"
  }
}

stop_() {
  running_ || return 0
  server pg_ctl -w -s -m fast -D "$data" stop
}

remove_() {
  stop_
  rm -rf "$home"
}

env_() { echo "export STOKER_TEST_POSTGRES=postgres://postgres@127.0.0.1:$port/postgres"; }

case ${1:-} in
install | start | stop | remove | running | env) "$1_" ;;
*) usage "install|start|stop|remove|running|env" ;;
esac
