#!/usr/bin/env bash
# kustomize: puts the Kubernetes manifests together as kubectl does.
# usage: kustomize.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=v5.7.1
program=$STOKER_PARTS/kustomize-$version/kustomize

install_() { build_go_program sigs.k8s.io/kustomize/kustomize/v5 "$version" "$program"; }

env_() { echo "export STOKER_TEST_KUSTOMIZE=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
