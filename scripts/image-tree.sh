#!/usr/bin/env bash
# Lays out what goes into the image: FOLDER/files is laid over the base image, FOLDER/data becomes /var/lib/stoker.
# usage: scripts/image-tree.sh PROGRAM FOLDER        PROGRAM is the built `stoker`; FOLDER is made anew
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# = 2 ] || {
  echo "usage: scripts/image-tree.sh PROGRAM FOLDER" >&2
  exit 1
}
program=$1 folder=$2
rm -rf "$folder"
mkdir -p "$folder/data" "$folder/files/usr/local/bin" "$folder/files/usr/share/doc/stoker"
strip -o "$folder/files/usr/local/bin/stoker" "$program"
chmod 755 "$folder/files/usr/local/bin/stoker"
install -m 644 LICENSE CHANGELOG.md "$folder/files/usr/share/doc/stoker/"
scripts/bom.sh "$folder/files/usr/share/doc/stoker"
