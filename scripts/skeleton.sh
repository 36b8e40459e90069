#!/usr/bin/env bash
# Writes the workspace without its code: manifests, and empty sources where they name some. What is built from it are the
# dependencies alone, which an image keeps as a layer until a manifest changes.
# usage: scripts/skeleton.sh FOLDER        FOLDER is new or empty
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# = 1 ] || {
  echo "usage: scripts/skeleton.sh FOLDER" >&2
  exit 1
}
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ -z "$(ls -A "$folder")" ] || {
  echo "skeleton: $folder holds files; give a new or an empty folder" >&2
  exit 1
}

here=$(pwd)
manifests=$(cargo metadata --no-deps --locked --format-version 1 | grep -o '"manifest_path":"[^"]*"' | cut -d'"' -f4)
for manifest in "$here/Cargo.toml" "$here/Cargo.lock" $manifests; do
  install -D -m 644 "$manifest" "$folder/${manifest#"$here"/}"
done

# Every target's source, a build script's too. An empty library and a main that does nothing are valid as any of them.
cargo metadata --no-deps --locked --format-version 1 | grep -o '"src_path":"[^"]*"' | cut -d'"' -f4 |
  while read -r source; do
    source=$folder/${source#"$here"/}
    mkdir -p "$(dirname "$source")"
    case $source in
    */lib.rs) : >"$source" ;;
    *) echo 'fn main() {}' >"$source" ;;
    esac
  done
