#!/usr/bin/env bash
# Whether a program runs on any Linux with glibc of Debian 12 (2.36) or later: it needs nothing but what every such system has.
# usage: scripts/portable.sh PROGRAM        needs binutils
set -euo pipefail

newest_glibc=2.36
program=${1:?usage: scripts/portable.sh PROGRAM}

others=$(readelf -d "$program" | sed -n 's/.*(NEEDED).*\[\(.*\)]/\1/p' |
  grep -vxE 'lib(c|m|gcc_s|dl|pthread|rt)\.so\.[0-9]+|ld-linux-[a-z0-9-]+\.so\.[0-9]+' || true)
[ -z "$others" ] || {
  echo "portable: $program needs libraries that a system may not have:" $others >&2
  exit 1
}
glibc=$(objdump -T "$program" | grep -oE 'GLIBC_[0-9.]+' | cut -d_ -f2 | sort -Vu | tail -n 1)
[ "$(printf '%s\n' "$glibc" "$newest_glibc" | sort -V | tail -n 1)" = "$newest_glibc" ] || {
  echo "portable: $program needs glibc $glibc; build it on Debian 12, or whatever has $newest_glibc at most" >&2
  exit 1
}
echo "$program runs with glibc $glibc or later"
