#!/bin/sh
# Applies the migrations of a folder, each once, in the order of their names.
#
#   alicia-migrate.sh DIR        DIR holds *.up.sql files; psql connects by PGHOST, PGUSER, PGDATABASE
#
# Each file runs in one transaction together with its record in schema_migrations, so a broken migration leaves
# nothing behind. A second run applies nothing. A file that changed after it was applied is an error.
# Exit codes: 0 done, 1 a migration failed or changed, 2 wrong call.
set -eu

fail() { echo "alicia-migrate: $1" >&2; exit "${2:-1}"; }
sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

[ $# -eq 1 ] || fail "usage: alicia-migrate.sh DIR" 2
folder=$1
[ -d "$folder" ] || fail "$folder is not a folder" 2
set -- "$folder"/*.up.sql
[ -e "$1" ] || fail "no migration (*.up.sql) in $folder" 2

sql --command "SET client_min_messages = 'warning'" --command "
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version text PRIMARY KEY,
        checksum text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )"
recorded=$(sql --field-separator=' ' --command 'SELECT version, checksum FROM schema_migrations')

applied=0
for file in "$@"; do
    name=${file##*/}
    version=${name%.up.sql}
    case $version in
        *[!A-Za-z0-9_.-]*) fail "$file: only letters, digits and _ . - may stand in the name" ;;
    esac
    checksum=$(sha256sum < "$file")
    checksum=${checksum%% *}
    known=$(printf '%s\n' "$recorded" | while read -r one sum; do
        if [ "$one" = "$version" ]; then echo "$sum"; fi
    done)
    if [ "$known" = "$checksum" ]; then
        continue
    fi
    if [ -n "$known" ]; then
        fail "$file changed after it was applied (recorded sha256 $known, now $checksum); add a new migration instead"
    fi
    echo "Applying: $name"
    # psql names file, line and message of an error itself. The record comes first: two runs at once collide on it
    # before either has touched the schema.
    if ! sql --single-transaction \
        --command "INSERT INTO schema_migrations (version, checksum) VALUES ('$version', '$checksum')" \
        --file "$file" > /dev/null
    then
        fail "$file failed; nothing of it was kept"
    fi
    applied=$((applied + 1))
done
echo "Migrations: $applied applied, $(($# - applied)) were there already"
