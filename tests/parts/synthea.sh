#!/usr/bin/env bash
# Synthea 3.3.0 makes synthetic patients. The same arguments always give the same files.
#   generate OUT N [SYNTHEA OPTION...]   N living patients, in two forms with the same ids:
#     OUT/bundles/  one transaction Bundle for each patient; hospitals.json and practitioners.json go first
#     OUT/ndjson/   one file for each resource type, with literal references
# Nothing is generated where OUT already holds the result of the same arguments. An earlier result of other arguments
# is replaced; a folder with anything else in it is refused.
# usage: synthea.sh install | generate OUT N [SYNTHEA OPTION...] | env
set -euo pipefail
. "$(dirname "$0")/lib.sh"

seed=4711
reference_date=20240101
home=$STOKER_PARTS/synthea
jars=$home/jars
data=$STOKER_PARTS/synthea-data

install_() {
  need java openjdk-17-jre-headless default-jre-headless
  download_jars "$here/synthea/pom.xml" "$jars"
}

generate_() {
  [ $# -ge 2 ] || usage "generate OUT N [SYNTHEA OPTION...]"
  local out mark
  out=$(mkdir -p "$1" && cd "$1" && pwd)
  mark=$out/.complete-$(echo "${@:2}" | checksum "$0" -)
  [ ! -e "$mark" ] || return 0
  [ -d "$jars" ] || fail "not installed; run: tests/parts/synthea.sh install"
  is_empty_or_own "$out" || fail "$out holds files that are not this script's; give an empty or a new folder"
  say "generating $2 patients into $out"
  # With this mark a run that was interrupted is known as this script's own.
  touch "$out/.incomplete"
  rm -rf "${out:?}"/.complete-* "${out:?}/bundles" "${out:?}/ndjson" "${out:?}/tmp"
  synthea "$out/tmp/bundles" "${@:2}"
  # Outside a transaction Bundle a reference must be literal to mean the same on every server.
  synthea "$out/tmp/ndjson" "${@:2}" --exporter.fhir.bulk_data=true --exporter.fhir.transaction_bundle=false
  collect_bundles "$out/tmp/bundles/fhir" "$out/bundles"
  collect_ndjson "$out/tmp/ndjson/fhir" "$out/ndjson"
  rm -rf "${out:?}/tmp"
  touch "$mark"
  rm "$out/.incomplete"
}

is_empty_or_own() {
  [ -z "$(ls -A "$1")" ] || [ -e "$1/.incomplete" ] || compgen -G "$1/.complete-*" >/dev/null
}

# synthea OUT N OPTION...      One thread, or patients come in another order each time.
synthea() {
  mkdir -p "$1"
  (cd "$1" && java -Xmx2g -cp "$jars/*" App -p "$2" -s "$seed" -cs "$seed" -r "$reference_date" \
    --generate.thread_pool_size=1 --exporter.baseDirectory="$1" "${@:3}" Massachusetts </dev/null >"$1/log" 2>&1) || {
    tail -n 20 "$1/log" >&2
    fail "Synthea failed"
  }
}

# Synthea puts the time of the run into the names of these two.
collect_bundles() {
  mv "$1" "$2"
  mv "$2"/hospitalInformation*.json "$2/hospitals.json"
  mv "$2"/practitionerInformation*.json "$2/practitioners.json"
}

# Providers come twice: once for each patient who met them, and all of them in TYPE.TIME.ndjson.
collect_ndjson() {
  local file
  mv "$1" "$2"
  rm -f "$2/parameters.json"
  for file in "$2"/*.[0-9]*.ndjson; do
    mv "$file" "$2/$(basename "$file" | cut -d. -f1).ndjson"
  done
}

env_() { echo "export STOKER_TEST_SYNTHEA=$data"; }

case ${1:-} in
install | env) "$1_" ;;
generate) generate_ "${@:2}" ;;
*) usage "install | generate OUT N [SYNTHEA OPTION...] | env" ;;
esac
