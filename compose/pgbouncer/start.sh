#!/bin/sh
# pgBouncer with the users' passwords as they are in /run/secrets. Which databases it stands before: pgbouncer.ini.
set -eu
umask 077
for name in stoker fhir; do
  printf '"%s" "%s"\n' "$name" "$(cat "/run/secrets/$name-password")"
done >/tmp/users.txt
exec pgbouncer /etc/pgbouncer/pgbouncer.ini
