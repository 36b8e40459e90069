#!/usr/bin/env bash
# kubernetes-validate: checks manifests against the schemas of Kubernetes versions, which it brings along.
# usage: kubernetes-validate.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=1.37.0
folder=$STOKER_PARTS/kubernetes-validate-$version

install_() {
  [ ! -e "$folder/.complete" ] || return 0
  need python3 python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_package python3-venv
  say "installing"
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install -q --disable-pip-version-check "kubernetes-validate==$version" </dev/null >&2 ||
    fail "pip could not install kubernetes-validate"
  touch "$folder/.complete"
}

env_() { echo "export STOKER_TEST_KUBERNETES_VALIDATE=$folder/bin/kubernetes-validate"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
