#!/usr/bin/env bash
# docker compose for the stack in compose/, whichever version of it is there. Makes passwords and tokens that are missing.
# usage: scripts/compose.sh up | down | swarm | COMPOSE ARGUMENT...
#   up [ARGUMENT...]     starts the stack, waits until all of it is healthy, and says what next; `--scale loader-worker=3` and the like
#   down [ARGUMENT...]   ends it; with --volumes also what it kept
#   swarm                runs Stoker's services, without peers, on the swarm that this engine is a manager of; docker stack rm ends them
set -euo pipefail
cd "$(dirname "$0")/../compose"

secrets=(grpc-token stoker-password fhir-password fhir-user-password s3-secret-key
  postgres-password replicator-password audit-password redis-password mongodb-password grafana-password)
patience_s=300

# setting NAME: of the environment, be it empty, else of .env.
setting() {
  if [ -n "${!1+given}" ]; then
    echo "${!1}"
  else
    sed -n "s/^$1=//p" .env
  fi
}

make_secrets() {
  local folder name
  folder=$(setting STOKER_SECRETS)
  mkdir -p "$folder"
  # Containers read the files, as users that are strangers here; people of this machine do not come past the folder.
  chmod 700 "$folder"
  for name in "${secrets[@]}"; do
    [ -s "$folder/$name" ] || (umask 022 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$name")
  done
}

# The older compose heeds limits only when it is told to.
compose() {
  if docker compose version >/dev/null 2>&1; then
    docker compose "$@"
  else
    docker-compose --compatibility "$@"
  fi
}

# Each container's service and state: healthy, running (when it has no health check), or what keeps it from that.
states() {
  docker ps -aq --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME)" | xargs -r docker inspect --format \
    '{{index .Config.Labels "com.docker.compose.service"}} {{if gt .RestartCount 5}}ends-again-and-again{{else if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}'
}

await_health() {
  local waiting
  while :; do
    waiting=$(states | grep -vE ' (healthy|running)$' | sort -u || true)
    [ -n "$waiting" ] || return 0
    if [ "$SECONDS" -gt "$patience_s" ] || grep -q 'ends-again' <<<"$waiting"; then
      compose ps >&2
      echo "compose: not healthy after $SECONDS s: $(echo "$waiting" | tr '\n' ' '); see: scripts/compose.sh logs" >&2
      exit 1
    fi
    sleep 1
  done
}

up() {
  make_secrets
  docker image inspect "$(setting STOKER_IMAGE)" >/dev/null 2>&1 || {
    echo "compose: there is no image $(setting STOKER_IMAGE); make it with: make images" >&2
    exit 1
  }
  compose up -d "$@"
  await_health
  compose ps
}

# Swarm's own command reads no .env.
swarm() {
  local name
  make_secrets
  for name in $(grep -oE '^[A-Z0-9_]+=' .env | tr -d =); do
    export "$name=$(setting "$name")"
  done
  docker stack deploy -c compose.yaml "$COMPOSE_PROJECT_NAME"
}

case ${1:-} in
swarm) swarm ;;
up) up "${@:2}" ;;
"") echo "usage: scripts/compose.sh up | down | swarm | COMPOSE ARGUMENT..." >&2 && exit 1 ;;
*) make_secrets && compose "$@" ;;
esac
