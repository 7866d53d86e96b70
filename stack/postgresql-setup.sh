#!/bin/sh
# Role, database and extensions of the backend. Run as the database's superuser; running it again changes nothing.
#
#   SETUP_DATABASE, SETUP_USER   names
#   SETUP_PASSWORD_FILE          one line, the role's password
#   SETUP_EXTENSIONS             blank-separated; made by the superuser, since vector is not a trusted extension
#   PGHOST, PGUSER, …            how psql connects
set -eu
: "${SETUP_DATABASE:?}" "${SETUP_USER:?}" "${SETUP_PASSWORD_FILE:?}" "${SETUP_EXTENSIONS?}"
export SETUP_PASSWORD_FILE
if [ ! -r "$SETUP_PASSWORD_FILE" ]; then
    echo "postgresql-setup: cannot read $SETUP_PASSWORD_FILE" >&2
    exit 1
fi

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 \
    --set database="$SETUP_DATABASE" --set user="$SETUP_USER" --set extensions="$SETUP_EXTENSIONS" <<'SQL'
-- The server logs every statement; the one with the password must not be among them.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
SET client_min_messages = 'warning';
\set password `head -n 1 "$SETUP_PASSWORD_FILE"`
SELECT format('CREATE ROLE %I LOGIN', :'user')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec
ALTER ROLE :"user" WITH LOGIN PASSWORD :'password';
RESET log_statement;
RESET log_min_error_statement;
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'user')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
ALTER DATABASE :"database" OWNER TO :"user";
\connect :"database"
SET client_min_messages = 'warning';
SELECT format('CREATE EXTENSION IF NOT EXISTS %I', name)
FROM string_to_table(:'extensions', ' ') AS name WHERE name <> '' \gexec
SQL
echo "postgresql-setup: database $SETUP_DATABASE of $SETUP_USER is ready"
