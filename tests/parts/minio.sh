#!/usr/bin/env bash
# MinIO (S3) for tests. Every test starts one of its own, in a folder of its own.
# usage: minio.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=v0.0.0-20260212201848-7aac2a2c5b7c
program=$STOKER_PARTS/minio-$version/minio

# Built from source, which takes some minutes once.
install_() {
  [ -x "$program" ] && return
  need go golang-go
  say "building MinIO (some minutes)"
  local building
  building=$(mktemp -d)
  GOBIN=$building GOFLAGS=-mod=mod go install "github.com/minio/minio@$version" </dev/null >&2 ||
    fail "MinIO could not be built"
  mkdir -p "$(dirname "$program")"
  mv "$building/minio" "$program"
  rmdir "$building"
}

env_() { echo "export STOKER_TEST_MINIO=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
