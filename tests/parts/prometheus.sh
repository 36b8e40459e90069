#!/usr/bin/env bash
# Prometheus, which the tests start, and promtool, which tests its rules.
# usage: prometheus.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

install_() {
  ! { command -v prometheus && command -v promtool; } >/dev/null || return 0
  install_servers prometheus
}

env_() {
  echo "export STOKER_TEST_PROMETHEUS=$(command -v prometheus)"
  echo "export STOKER_TEST_PROMTOOL=$(command -v promtool)"
}

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
