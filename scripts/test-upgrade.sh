#!/usr/bin/env bash
# Upgrades services under load from an earlier build to this one: the rolling tests begin with the earlier programs.
# usage: scripts/test-upgrade.sh [REVISION]        REVISION: of git; the last one that was tagged, or the one before this
set -euo pipefail
cd "$(dirname "$0")/.."

revision=${1:-$(git describe --tags --abbrev=0 2>/dev/null || echo HEAD^)}
target=${CARGO_TARGET_DIR:-$PWD/target}
revision=$(git rev-parse --short "$revision^{commit}")
work=$(mktemp -d)
remove() {
  git worktree remove --force "$work/sources"
  rm -rf "$work"
}
trap remove EXIT

echo "test-upgrade: building $revision" >&2
git worktree add --quiet --detach "$work/sources" "$revision"
# Other sources, other folder: the two builds would take turns in one.
(cd "$work/sources" && CARGO_TARGET_DIR=$target/previous cargo build --locked --workspace --bins)
STOKER_TEST_PREVIOUS=$target/previous/debug scripts/test.sh --test it --test backup -- rolling:: are_restarted_in_turn
