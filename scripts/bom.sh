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

# Below a crate's folder also those of the C code that it brings. Asked for together: there are some hundred crates.
texts=(-iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*')
mapfile -t crates < <(jq -r '.licences[].folder' "$work/bom.json")
find "${crates[@]}" -maxdepth 3 -type f \( "${texts[@]}" \) ! -name '*.rs' ! -name '*.py' -print0 |
  LC_ALL=C sort -z | xargs -0 sha256sum >"$work/sums"

# Most are the same few texts: each is written once, below the names of all whose it is.
mkdir "$work/texts" "$work/names"
jq -r '.licences[] | "\(.name): \(.expression)"' "$work/bom.json" >"$work/list"
jq -r '.licences[] | [.folder, .name] | @tsv' "$work/bom.json" |
  awk -F'\t' -v work="$work" '
    NR == FNR { name[$1] = $2; next }
    {
      sum = substr($0, 1, 64); file = substr($0, 67); crate = file
      while (!(crate in name) && sub("/[^/]*$", "", crate)) { }
      print name[crate] ": " substr(file, length(crate) + 2) >>(work "/names/" sum)
      if (!(sum in seen)) { seen[sum] = 1; print file "\t" work "/texts/" sum }
      close(work "/names/" sum)
    }' - "$work/sums" | while IFS=$'\t' read -r file text; do
  cp "$file" "$text"
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
