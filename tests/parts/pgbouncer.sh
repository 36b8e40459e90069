#!/usr/bin/env bash
# pgBouncer, a pool before PostgreSQL. Every test starts one of its own.
# usage: pgbouncer.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

program=/usr/sbin/pgbouncer

install_() {
  [ ! -x "$program" ] || return 0
  install_servers pgbouncer
}

env_() { echo "export STOKER_TEST_PGBOUNCER=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
