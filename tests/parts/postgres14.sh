#!/usr/bin/env bash
# PostgreSQL 14 for tests, on 127.0.0.1:15414: its replication protocol is another than that of 15 and later.
# Its programs are initdb, pg_ctl and postgres. Otherwise as postgres.sh, which does the work.
# usage: postgres14.sh install|start|stop|remove|running|env      env tells the folder of the programs
set -euo pipefail
. "$(dirname "$0")/lib.sh"

home=$STOKER_PARTS/postgres14
# PostgreSQL refuses to run as root and user postgres may not enter root's home.
if is_root && id postgres >/dev/null 2>&1; then
  mkdir -p "$STOKER_PARTS"
  setpriv --reuid postgres --regid postgres --init-groups test -x "$STOKER_PARTS" || home=/var/lib/postgresql/stoker-postgres14
fi
export STOKER_POSTGRES_BIN=$home/server/bin
export STOKER_POSTGRES_PORT=${STOKER_POSTGRES_PORT:-15414}

install_() {
  [ ! -x "$STOKER_POSTGRES_BIN/postgres" ] || return 0
  need unzip unzip
  need xz xz-utils
  download_jars "$here/postgres14/pom.xml" "$home/jars"
  rm -rf "$home/server" "$home/unpacking"
  mkdir -p "$home/unpacking"
  unzip -p "$home"/jars/*.jar '*.txz' | tar -xJ -C "$home/unpacking"
  mv "$home/unpacking" "$home/server"
}

case ${1:-} in
install) install_ ;;
start | stop | remove | running) exec "$here/postgres.sh" "$1" ;;
env) echo "export STOKER_TEST_POSTGRES14=$STOKER_POSTGRES_BIN" ;;
*) usage "install|start|stop|remove|running|env" ;;
esac
