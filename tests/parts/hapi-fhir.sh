#!/usr/bin/env bash
# HAPI FHIR JPA 7.6.1, a real FHIR R4 server, on 127.0.0.1:18080; needs postgres.sh started.
# Every start begins with an empty database of the server's own. A server that is started with STOKER_HAPI_OWNER, a
# process id, is stopped by the next start or by stop-left once that process is gone: interrupted tests leave none behind.
# usage: hapi-fhir.sh install|start|stop|running|stop-left
#   stop-left      also stops the servers of STOKER_HAPI_OWNER itself
set -euo pipefail
. "$(dirname "$0")/lib.sh"

postgres_port=${STOKER_POSTGRES_PORT:-15432}
home=$STOKER_PARTS/hapi-fhir
jars=$home/jars
classes=$home/classes
owner=${STOKER_HAPI_OWNER:-}
start_limit_s=300
logs_kept=10

# select_server PORT: the server that the functions below are about.
select_server() {
  port=$1
  database=hapi_$port
  log=$home/server-$port.log
  pid_file=$home/server-$port.pid
}
select_server "${STOKER_HAPI_PORT:-18080}"

install_() {
  need javac openjdk-17-jdk-headless default-jdk-headless
  need ps procps
  need curl curl
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

# The pid file holds the server's process and, on a second line, its owner.
server_pid() { sed -n 1p "$pid_file"; }
server_owner() { sed -n 2p "$pid_file"; }

# The process of the pid file, if it is still this server and not a later user of its number.
running_() {
  [ -s "$pid_file" ] && ps -o args= -p "$(server_pid)" 2>/dev/null | grep -q -- "-Dport=$port "
}

sql() {
  PGOPTIONS=--client-min-messages=warning \
    psql -h 127.0.0.1 -p "$postgres_port" -U postgres -d postgres -v ON_ERROR_STOP=1 -qAt -c "$1" ||
    fail "no answer from PostgreSQL on port $postgres_port; run: tests/parts/postgres.sh start"
}

start_() {
  (stop_orphans)
  remove_old_logs
  running_ && return 0
  [ -d "$classes" ] || fail "not installed; run: tests/parts/hapi-fhir.sh install"
  need_free_port "$port" STOKER_HAPI_PORT
  sql "select pg_terminate_backend(pid) from pg_stat_activity where datname = '$database'"
  sql "drop database if exists $database"
  sql "create database $database"
  # Emptied before the wait for it to say that the server is up.
  : >"$log"
  nohup java -Xmx1500m -Dport="$port" \
    -Ddb.url="jdbc:postgresql://127.0.0.1:$postgres_port/$database" \
    -cp "$classes:$jars/*" Main </dev/null >"$log" 2>&1 &
  printf '%s\n' $! "$owner" >"$pid_file"
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
    pid=$(server_pid)
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
      [ "$waited" -lt 100 ] || kill -9 "$pid" 2>/dev/null || true
      waited=$((waited + 1))
      sleep 0.2
    done
  fi
  rm -f "$pid_file"
}

# stop_orphans [OWNER]: stops the servers whose owner is gone, and those of OWNER.
stop_orphans() {
  local file its_owner
  for file in "$home"/server-*.pid; do
    [ -e "$file" ] || continue
    file=${file##*/server-}
    select_server "${file%.pid}"
    # Another script may have stopped it in this moment.
    its_owner=$(server_owner 2>/dev/null) || continue
    [ -n "$its_owner" ] || continue
    if [ "$its_owner" = "${1:-}" ] || ! ps -p "$its_owner" >/dev/null; then
      say "stopping the server on port $port, left behind by process $its_owner"
      stop_
    fi
  done
}

# The logs of the last servers are kept to be looked into.
remove_old_logs() {
  local old
  while read -r old; do
    [ -e "${old%.log}.pid" ] || rm -f "$old"
  done < <(find "$home" -maxdepth 1 -name 'server-*.log' -printf '%T@ %p\n' | sort -rn | tail -n +"$((logs_kept + 1))" | cut -d' ' -f2-)
}

case ${1:-} in
install | start | stop | running) "$1_" ;;
stop-left) stop_orphans "$owner" ;;
*) usage "install|start|stop|running|stop-left" ;;
esac
