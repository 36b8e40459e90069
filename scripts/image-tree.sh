#!/usr/bin/env bash
# Lays out what goes into the image: FOLDER/root is laid over the base image's root, FOLDER/data becomes /var/lib/stoker.
# usage: scripts/image-tree.sh PROGRAM FOLDER        PROGRAM is the built `stoker`; FOLDER is made anew
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# = 2 ] || {
  echo "usage: scripts/image-tree.sh PROGRAM FOLDER" >&2
  exit 1
}
program=$1 folder=$2
rm -rf "$folder"
mkdir -p "$folder/data" "$folder/root/usr/local/bin" "$folder/root/usr/share/doc/stoker"
strip -o "$folder/root/usr/local/bin/stoker" "$program"
chmod 755 "$folder/root/usr/local/bin/stoker"
install -m 644 LICENSE CHANGELOG.md "$folder/root/usr/share/doc/stoker/"
scripts/bom.sh "$folder/root/usr/share/doc/stoker"
