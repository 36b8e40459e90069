#!/usr/bin/env bash
# Builds Stoker, starts the sandbox (a small FHIR server) and loads sample/ into it.
# usage: scripts/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."

demo=target/demo
stoker=${CARGO_TARGET_DIR:-target}/debug/stoker

fail() {
  echo "demo: $*" >&2
  exit 1
}

port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  for port in $(seq 7780 7799); do
    port_answers "$port" || {
      echo "$port"
      return
    }
  done
  fail "ports 7780 to 7799 are all in use"
}

start_sandbox() {
  "$stoker" sandbox --port "$port" </dev/null >"$demo/sandbox.log" 2>&1 &
  sandbox=$!
  trap 'kill "$sandbox" 2>/dev/null; wait "$sandbox" 2>/dev/null || true' EXIT
  for _ in $(seq 100); do
    port_answers "$port" && return
    kill -0 "$sandbox" 2>/dev/null || break
    sleep 0.1
  done
  cat "$demo/sandbox.log" >&2
  fail "the sandbox did not start; its log is above"
}

# count NAME: a number of the report's "resources".
count() {
  tr -d ' \n' <"$demo/report.json" | sed -n 's/.*"resources":{\([^{}]*\).*/\1/p' |
    grep -o "\"$1\":[0-9]*" | cut -d: -f2
}

check_counts() {
  local expected
  expected=$(awk '{ sum += $2 } END { print sum }' sample/counts.tsv)
  [ "$(count loaded)" = "$expected" ] || fail "sample/counts.tsv says $expected resources, $demo/report.json differs"
  [ "$(count rejected)" = 0 ] || fail "some resources were rejected; see $demo/report.json"
}

command -v cargo >/dev/null || fail "cargo is missing; install Rust with rustup"
echo "demo: building stoker (some minutes the first time)" >&2
cargo build --bin stoker

# Nothing is kept from an earlier demo, and the user's own settings and ledger are left alone.
rm -rf "$demo"
mkdir -p "$demo"
demo=$(cd "$demo" && pwd)
export XDG_CONFIG_HOME=$demo/config XDG_DATA_HOME=$demo/data
unset STOKER_CONFIG

port=$(free_port)
url=http://127.0.0.1:$port/fhir
start_sandbox
"$stoker" load sample --to "$url" --ledger "sqlite:$demo/ledger.sqlite" --report "$demo/report.json"
check_counts

cat <<TEXT

All of sample/ is loaded. The report: $demo/report.json

Try next:
  $stoker sandbox &
  $stoker load sample --to http://127.0.0.1:7780/fhir   # once the sandbox was restarted: add --reload
  $stoker jobs
  $stoker load --help
TEXT
