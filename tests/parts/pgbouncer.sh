#!/usr/bin/env bash
# pgBouncer, a pool before PostgreSQL. Every test starts one of its own.
# usage: pgbouncer.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

program=/usr/sbin/pgbouncer
# Says, while the package is installed, that no service may start; what others said before stays.
no_service=/usr/sbin/policy-rc.d

install_() {
  [ ! -x "$program" ] || return 0
  if [ ! -e "$no_service" ]; then
    trap 'as_root rm -f "$no_service"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$no_service" >/dev/null
    as_root chmod 755 "$no_service"
  fi
  install_package pgbouncer
}

env_() { echo "export STOKER_TEST_PGBOUNCER=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
