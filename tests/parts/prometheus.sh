#!/usr/bin/env bash
# Prometheus, which the tests start, and promtool, which tests its rules.
# usage: prometheus.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

install_() {
  ! { command -v prometheus && command -v promtool; } >/dev/null || return 0
  # The package would start a server of its own.
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap "as_root rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
  fi
  install_package prometheus
}

env_() {
  echo "export STOKER_TEST_PROMETHEUS=$(command -v prometheus)"
  echo "export STOKER_TEST_PROMTOOL=$(command -v promtool)"
}

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
