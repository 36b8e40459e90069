#!/usr/bin/env bash
# MinIO (S3) for tests. Every test starts one of its own, in a folder of its own.
# usage: minio.sh install|env      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=v0.0.0-20260212201848-7aac2a2c5b7c
program=$STOKER_PARTS/minio-$version/minio

install_() { build_go_program github.com/minio/minio "$version" "$program"; }

env_() { echo "export STOKER_TEST_MINIO=$program"; }

case ${1:-} in
install | env) "${1}_" ;;
*) usage "install|env" ;;
esac
