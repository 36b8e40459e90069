# shellcheck shell=bash
# What the scripts of this folder share; sourced, never run. To install they need Debian or Ubuntu, and root or sudo.
# Everything they download, build or write lies under $STOKER_PARTS, outside the clone.

STOKER_PARTS=${STOKER_PARTS:-$HOME/.cache/stoker/parts}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
part=$(basename "$0" .sh)

say() { echo "$part: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

usage() { fail "usage: tests/parts/$part.sh $1"; }

case $STOKER_PARTS/ in
"$(dirname "$(dirname "$here")")"/*) fail "STOKER_PARTS must lie outside the clone, not at $STOKER_PARTS" ;;
/*) ;;
*) fail "STOKER_PARTS must be an absolute path, not $STOKER_PARTS" ;;
esac

is_root() { [ "$(id -u)" = 0 ]; }

as_root() {
  if is_root; then
    "$@"
  else
    command -v sudo >/dev/null || fail "this needs root or sudo: $*"
    sudo "$@"
  fi
}

# install_package PACKAGE...: the first of these that apt knows; only called when something is missing.
install_package() {
  local package
  command -v apt-get >/dev/null || fail "please install what one of these packages of Debian and Ubuntu holds: $*"
  as_root apt-get -qq update </dev/null >/dev/null || fail "apt-get update failed"
  for package in "$@"; do
    if apt-cache show "$package" >/dev/null 2>&1; then
      say "installing $package"
      as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
        --no-install-recommends "$package" </dev/null >/dev/null || fail "apt-get install $package failed"
      return
    fi
  done
  fail "apt knows none of these packages: $*"
}

# need COMMAND PACKAGE...: installs the first of these packages that apt knows if the command is missing.
need() { command -v "$1" >/dev/null || install_package "${@:2}"; }

# install_servers PACKAGE...: all of these; the servers that they bring are not started.
install_servers() {
  local policy=/usr/sbin/policy-rc.d
  command -v apt-get >/dev/null || fail "please install these packages of Debian and Ubuntu: $*"
  say "installing $*"
  if [ ! -e "$policy" ]; then
    # shellcheck disable=SC2064
    trap "as_root rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
  fi
  as_root apt-get -qq update </dev/null >/dev/null || fail "apt-get update failed"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
    --no-install-recommends "$@" </dev/null >/dev/null || fail "apt-get install failed: $*"
}

# port_answers PORT: something listens on 127.0.0.1:PORT.
port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# need_free_port PORT VARIABLE: refuses to share a port with somebody else's server.
need_free_port() {
  ! port_answers "$1" ||
    fail "port $1 is used by a server this script did not start; stop it or set $2 to a free port"
}

# checksum FILE...: one word that changes when a file does.
checksum() { cat "$@" | sha256sum | cut -c1-16; }

# download_jars POM FOLDER: the runtime dependencies of a pom.xml, once for each content of it.
download_jars() {
  local pom=$1 folder=$2 mark
  mark=$folder/.complete-$(checksum "$pom")
  [ ! -e "$mark" ] || return 0
  need mvn maven
  say "downloading jars"
  rm -rf "$folder"
  mkdir -p "$folder"
  mvn -q -B -Dstyle.color=never -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$folder" </dev/null >&2 ||
    fail "Maven could not download the dependencies of $pom"
  touch "$mark"
}

# build_go_program MODULE VERSION PROGRAM: builds the program of a Go module from source, once for each version.
build_go_program() {
  local module=$1 version=$2 program=$3 building
  [ ! -x "$program" ] || return 0
  need go golang-go
  # Older ones cannot fetch the Go that a module asks for.
  [ "$(printf '%s\n' go1.21 "$(go env GOVERSION)" | sort -V | head -n 1)" = go1.21 ] ||
    fail "Go 1.21 or later is needed to build $module, here is $(go env GOVERSION)"
  say "building $module (this may take some minutes)"
  building=$(mktemp -d)
  GOBIN=$building GOFLAGS=-mod=mod go install "$module@$version" </dev/null >&2 || fail "$module could not be built"
  mkdir -p "$(dirname "$program")"
  mv "$building/$(basename "$program")" "$program"
  rmdir "$building"
}
