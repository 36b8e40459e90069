#!/usr/bin/env bash
# Says what the stoker program is made of. Writes into FOLDER
#   stoker.cdx.json   the bill of materials, CycloneDX 1.5: every crate that is linked in, with its version, licence and checksum
#   LICENCES.txt      the licence of each of them, as its authors wrote it
# The same sources always give the same files.
# usage: scripts/bom.sh FOLDER        needs jq
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# = 1 ] || {
  echo "usage: scripts/bom.sh FOLDER" >&2
  exit 1
}
mkdir -p "$1"
folder=$(cd "$1" && pwd)
command -v jq >/dev/null || {
  echo "bom: jq is missing; install the package jq" >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Cargo's checksums stand in its lock file alone.
awk -F'"' '
  /^\[\[package]]/ { name = ""; version = "" }
  /^name = /     { name = $2 }
  /^version = /  { version = $2 }
  /^checksum = / { printf "{\"%s@%s\":\"%s\"}\n", name, version, $2 }' Cargo.lock | jq -s add >"$work/checksums.json"
cargo metadata --locked --format-version 1 --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" >"$work/metadata.json"
jq --slurpfile checksums "$work/checksums.json" -f scripts/bom.jq "$work/metadata.json" >"$work/bom.json"
jq '.bom' "$work/bom.json" >"$folder/stoker.cdx.json"

# Below a crate's folder also those of the C code that it brings.
licence_files() {
  find "$1" -maxdepth 3 -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \) \
    ! -name '*.rs' ! -name '*.py' | LC_ALL=C sort
}

# Most are the same few texts: each is written once, below the names of all whose it is.
mkdir "$work/texts" "$work/names"
jq -r '.licences[] | [.name, .folder, .expression] | @tsv' "$work/bom.json" |
  while IFS=$'\t' read -r name crate expression; do
    echo "$name: $expression" >>"$work/list"
    licence_files "$crate" | while read -r file; do
      sum=$(sha256sum <"$file" | cut -c1-64)
      [ -e "$work/texts/$sum" ] || cp "$file" "$work/texts/$sum"
      echo "$name: ${file#"$crate"/}" >>"$work/names/$sum"
    done
  done
{
  printf 'stoker is licensed as LICENSE says. It is linked with these crates:\n\n'
  cat "$work/list"
  for names in "$work"/names/*; do
    printf '\n%s\n' "$(printf '=%.0s' {1..100})"
    cat "$names"
    printf '%s\n\n' "$(printf -- '-%.0s' {1..100})"
    cat "$work/texts/$(basename "$names")"
  done
} >"$folder/LICENCES.txt"
