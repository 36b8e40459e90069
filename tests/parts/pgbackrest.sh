#!/usr/bin/env bash
# pgBackRest, which keeps backups in a repository of its own. Every test makes one.
# usage: pgbackrest.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

program=/usr/bin/pgbackrest

install_() {
  [ -x "$program" ] || install_package pgbackrest
}

env_() { echo "export STOKER_TEST_PGBACKREST=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
