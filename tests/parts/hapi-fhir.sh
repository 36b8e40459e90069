#!/usr/bin/env bash
# HAPI FHIR JPA 7.6.1, a real FHIR R4 server, on 127.0.0.1:18080; needs postgres.sh started.
# Every start begins with an empty database of the server's own.
# usage: hapi-fhir.sh install|start|stop|running
set -euo pipefail
. "$(dirname "$0")/lib.sh"

port=${STOKER_HAPI_PORT:-18080}
postgres_port=${STOKER_POSTGRES_PORT:-15432}
home=$STOKER_PARTS/hapi-fhir
jars=$home/jars
classes=$home/classes
database=hapi_$port
log=$home/server-$port.log
pid_file=$home/server-$port.pid
start_limit_s=300

install_() {
  need javac openjdk-17-jdk-headless
  download_jars "$here/hapi/pom.xml" "$jars"
  local mark
  mark=$classes/.complete-$(checksum "$here"/hapi/*)
  [ ! -e "$mark" ] || return 0
  rm -rf "$classes"
  mkdir -p "$classes"
  cp "$here/hapi/logback.xml" "$classes/"
  javac -proc:none -nowarn -cp "$jars/*" -d "$classes" "$here/hapi/Main.java"
  touch "$mark"
}

# The process of the pid file, if it is still this server and not a later user of its number.
running_() {
  [ -s "$pid_file" ] && ps -o args= -p "$(cat "$pid_file")" 2>/dev/null | grep -q -- "-Dport=$port "
}

sql() {
  PGOPTIONS=--client-min-messages=warning \
    psql -h 127.0.0.1 -p "$postgres_port" -U postgres -d postgres -v ON_ERROR_STOP=1 -qAt -c "$1" ||
    fail "no answer from PostgreSQL on port $postgres_port; run: tests/parts/postgres.sh start"
}

start_() {
  running_ && return 0
  [ -d "$classes" ] || fail "not installed; run: tests/parts/hapi-fhir.sh install"
  need_free_port "$port" STOKER_HAPI_PORT
  sql "drop database if exists $database with (force)"
  sql "create database $database"
  nohup java -Xmx1500m -Dport="$port" \
    -Ddb.url="jdbc:postgresql://127.0.0.1:$postgres_port/$database" \
    -cp "$classes:$jars/*" Main </dev/null >"$log" 2>&1 &
  echo $! >"$pid_file"
  await_start
}

await_start() {
  local deadline=$((SECONDS + start_limit_s))
  until grep -q "^HAPI FHIR is up" "$log"; do
    if ! running_ || [ "$SECONDS" -gt "$deadline" ]; then
      tail -n 20 "$log" >&2
      stop_
      fail "HAPI FHIR did not start within $start_limit_s s; its log is $log"
    fi
    sleep 0.5
  done
  # The first answer takes long: the server builds its CapabilityStatement then.
  curl -fsS --max-time "$start_limit_s" -o /dev/null "http://127.0.0.1:$port/fhir/metadata" ||
    fail "HAPI FHIR started but does not answer; its log is $log"
}

stop_() {
  local pid waited=0
  if running_; then
    pid=$(cat "$pid_file")
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do
      [ "$waited" -lt 100 ] || kill -9 "$pid" 2>/dev/null || true
      waited=$((waited + 1))
      sleep 0.2
    done
  fi
  rm -f "$pid_file"
}


case ${1:-} in
install | start | stop | running) "$1_" ;;
*) usage "install|start|stop|running" ;;
esac
