#!/usr/bin/env bash
# Packs a `stoker` that is built already into an image, without compiling anything.
# usage: [BASE_IMAGE=…] scripts/image.sh [PROGRAM [TAG]]        PROGRAM: the release build; TAG: stoker:latest
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
program=${1:-$target/release/stoker} tag=${2:-stoker:latest}
[ -x "$program" ] || {
  echo "image: $program is missing; run: make build" >&2
  exit 1
}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"
scripts/image-tree.sh "$program" "$tree/image"

label() { echo "--label=org.opencontainers.image.$1=$2"; }
docker build --quiet --target packed --tag "$tag" --file Dockerfile ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} \
  "$(label title Stoker)" "$(label licenses Apache-2.0)" \
  "$(label version "$("$program" --version | cut -d' ' -f2)")" \
  "$(label revision "$(git -c safe.directory='*' rev-parse HEAD 2>/dev/null || echo unknown)")" "$tree/image" >/dev/null
echo "$tag"
