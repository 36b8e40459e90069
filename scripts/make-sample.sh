#!/usr/bin/env bash
# Makes sample/ anew from Synthea: the same files on every run. sample/README.md describes them.
# usage: scripts/make-sample.sh      needs, beside what the test parts install: jq, zstd, gzip
set -euo pipefail
cd "$(dirname "$0")/.."

patients=20
bundles=3
providers=(Organization Location Practitioner)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for tool in jq zstd gzip; do
  command -v "$tool" >/dev/null || { echo "make-sample: please install $tool" >&2; exit 1; }
done

# Young people have short records.
tests/parts/synthea.sh install
tests/parts/synthea.sh generate "$work" "$patients" -a 0-30

rm -rf sample/ndjson sample/bundles
mkdir -p sample/ndjson sample/bundles

# Synthea's Bundles search for their providers (`Practitioner?identifier=…`), which succeeds only where
# these were loaded before. The NDJSON tells their ids, so that files may load in any order.
for type in "${providers[@]}"; do
  jq -r '.resourceType as $type | .id as $id | .identifier[]
    | "s#\"\($type)?identifier=\(.system)|\(.value)\"#\"\($type)/\($id)\"#"' "$work/ndjson/$type.ndjson"
done >"$work/literal.sed"

# The smallest records become Bundles, all others NDJSON: no resource comes twice.
while read -r file; do
  name=$(basename "$file" | cut -d_ -f1,2)
  sed -f "$work/literal.sed" "$file" >"sample/bundles/$name.json"
  jq -r '.entry[].resource.resourceType' "$file" >>"$work/types"
  jq -r '.entry[].resource | "\"id\":\"\(.id)\""' "$file" >>"$work/bundled"
done < <(find "$work/bundles" -name '*_*.json' -printf '%s %p\n' | sort -n | head -n "$bundles" | cut -d' ' -f2-)
for file in "$work"/ndjson/*.ndjson; do
  grep -vFf "$work/bundled" "$file" >"$work/kept" || continue
  jq -r .resourceType "$work/kept" >>"$work/types"
  zstd -q -19 "$work/kept" -o "sample/ndjson/$(basename "$file").zst"
done

# One Bundle stays plain for people to read.
find sample/bundles -name '*.json' | sort | tail -n +2 | xargs gzip -n -9

# grep reads to the end: if it stopped at the first match, zcat would fail and the condition with it.
if zcat -f sample/bundles/* | grep -o '[A-Za-z]*?identifier=[^"]*' >"$work/unresolved"; then
  head -n 3 "$work/unresolved" >&2
  echo "make-sample: a Bundle refers to a provider that is not in the NDJSON (above)" >&2
  exit 1
fi
sort "$work/types" | uniq -c | awk '{ print $2 "\t" $1 }' >sample/counts.tsv
du -sh sample
