#!/usr/bin/env bash
# grpcurl: the command-line client by which people look at gRPC services.
# usage: grpcurl.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=v1.9.4
program=$STOKER_PARTS/grpcurl-$version/grpcurl

# Built from source, which takes a minute once.
install_() {
  [ -x "$program" ] && return
  need go golang-go
  say "building grpcurl"
  local building
  building=$(mktemp -d)
  GOBIN=$building GOFLAGS=-mod=mod go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version" </dev/null >&2 ||
    fail "grpcurl could not be built"
  mkdir -p "$(dirname "$program")"
  mv "$building/grpcurl" "$program"
  rmdir "$building"
}

env_() { echo "export STOKER_TEST_GRPCURL=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
