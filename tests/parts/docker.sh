#!/usr/bin/env bash
# A Docker engine for tests, apart from one that the machine may have: a socket, images and containers of its own, and no change to the
# machine's firewall. No image is pulled: the base image is made of Debian's packages, like the ones that hold no shell.
# usage: docker.sh install|start|stop|running|env      needs Debian or Ubuntu, and root; on 127.0.0.1 alone
set -euo pipefail
. "$(dirname "$0")/lib.sh"

home=$STOKER_PARTS/docker
# A socket's path has to be short.
socket=/run/stoker-parts-docker.sock
export DOCKER_HOST=unix://$socket
base=stoker-parts/base:latest

install_() {
  is_root || fail "Docker's engine needs root"
  # The engine wants iptables, even where it is told to leave the firewall alone: names of containers go through it.
  if ! type -P dockerd docker-compose mmdebstrap iptables >/dev/null; then
    install_servers docker.io docker-compose mmdebstrap iptables
  fi
}

running_() { [ -S "$socket" ] && docker version >/dev/null 2>&1; }

start_() {
  running_ && return 0
  command -v dockerd >/dev/null || fail "not installed; run: tests/parts/docker.sh install"
  mkdir -p "$home"
  nohup dockerd --data-root "$home/data" --exec-root "$home/exec" --pidfile "$home/pid" -H "$DOCKER_HOST" \
    --iptables=false --bridge=none </dev/null >"$home/log" 2>&1 &
  local engine=$! deadline=$((SECONDS + 60))
  until running_; do
    if ! kill -0 "$engine" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
      tail -n 20 "$home/log" >&2
      fail "Docker's engine did not start; its log is $home/log"
    fi
    sleep 0.2
  done
  make_base
}

# glibc, libgcc and nothing else: a program that runs on it runs on any base.
make_base() {
  ! docker image inspect "$base" >/dev/null 2>&1 || return 0
  say "making $base"
  local suite
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mmdebstrap --quiet --variant=extract --include=libgcc-s1,netbase --dpkgopt='path-exclude=/usr/share/*' "$suite" - </dev/null |
    docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' - "$base" >/dev/null || fail "$base could not be made"
}

stop_() {
  running_ || return 0
  local containers engine waited=0
  containers=$(docker ps -aq)
  # shellcheck disable=SC2086
  [ -z "$containers" ] || docker rm -fv $containers >/dev/null
  engine=$(cat "$home/pid")
  kill "$engine"
  while kill -0 "$engine" 2>/dev/null; do
    [ "$waited" -lt 150 ] || fail "Docker's engine did not stop within 30 s; its log is $home/log"
    waited=$((waited + 1))
    sleep 0.2
  done
}

env_() {
  echo "export STOKER_TEST_DOCKER=$DOCKER_HOST"
  echo "export STOKER_TEST_BASE_IMAGE=$base"
}

case ${1:-} in
install | start | stop | running | env) "$1_" ;;
*) usage "install|start|stop|running|env" ;;
esac
