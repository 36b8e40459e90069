#!/usr/bin/env bash
# CycloneDX's own library for Python: whether a bill of materials is valid.
# usage: cyclonedx.sh install | validate FILE      needs Debian or Ubuntu, and root or sudo to install
set -euo pipefail
. "$(dirname "$0")/lib.sh"

version=11.12.0
home=$STOKER_PARTS/cyclonedx-$version

install_() {
  [ ! -e "$home/.complete" ] || return 0
  python3 -c 'import ensurepip' 2>/dev/null || install_package python3-venv
  say "installing cyclonedx-python-lib $version"
  rm -rf "$home"
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check "cyclonedx-python-lib[json-validation]==$version" </dev/null >&2 ||
    fail "cyclonedx-python-lib could not be installed"
  touch "$home/.complete"
}

validate_() {
  [ $# = 1 ] || usage "install | validate FILE"
  [ -e "$home/.complete" ] || fail "not installed; run: tests/parts/cyclonedx.sh install"
  "$home/bin/python" - "$1" <<'PYTHON'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = open(sys.argv[1], encoding="utf-8").read()
fault = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
sys.exit(f"{sys.argv[1]} is not valid: {fault}" if fault else 0)
PYTHON
}

case ${1:-} in
install | validate) "$1_" "${@:2}" ;;
*) usage "install | validate FILE" ;;
esac
