#!/usr/bin/env bash
# grpcurl: the command-line client by which people look at gRPC services.
# usage: grpcurl.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=v1.9.4
program=$STOKER_PARTS/grpcurl-$version/grpcurl

install_() { build_go_program github.com/fullstorydev/grpcurl/cmd/grpcurl "$version" "$program"; }

env_() { echo "export STOKER_TEST_GRPCURL=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
