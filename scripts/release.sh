#!/usr/bin/env bash
# Packs the release build for operators, who have no Rust: the program, its bill of materials and licences, and checksums.
# usage: scripts/release.sh [PROGRAM [FOLDER]]        PROGRAM: the release build; FOLDER: target/dist, made anew
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
program=${1:-$target/release/stoker} folder=${2:-target/dist}
[ -x "$program" ] || {
  echo "release: $program is missing; run: make build" >&2
  exit 1
}
scripts/portable.sh "$program"

name=stoker-$("$program" --version | cut -d' ' -f2)-$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/image-tree.sh "$program" "$work/image"
mkdir "$work/$name"
cp "$work/image/files/usr/local/bin/stoker" "$work/image/files/usr/share/doc/stoker/"* README.md "$work/$name/"
cp -R config "$work/$name/config"

rm -rf "$folder"
mkdir -p "$folder"
# The same program gives the same archive, whoever packs it and when.
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -c "$name" | gzip -n >"$folder/$name.tar.gz"
cp "$work/$name/stoker.cdx.json" "$folder/$name.cdx.json"
(cd "$folder" && sha256sum -- * >SHA256SUMS)
ls -l "$folder"
