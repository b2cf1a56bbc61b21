#!/bin/bash
# The first start makes the database that POSTGRES_USER, POSTGRES_PASSWORD(_FILE) and POSTGRES_DB
# describe; each start then runs the server as its own user, as the real image does.
set -eu
if [ "$(id -u)" = 0 ]; then
  chown postgres:postgres "$PGDATA" /var/run/postgresql
  exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:?no password is given}")}
  database=${POSTGRES_DB:-$user}
  initdb --username "$user" --pwfile <(printf '%s\n' "$password") --auth-local trust \
    --auth-host scram-sha-256 >/dev/null
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  pg_ctl --wait --options "-c listen_addresses=''" start >/dev/null
  [ "$database" = postgres ] || createdb --username "$user" "$database"
  pg_ctl --wait --mode fast stop >/dev/null
fi
exec "$@"
