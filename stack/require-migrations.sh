#!/bin/sh
# Lets the backend start only when its migrations have run in this boot.
if ! systemctl is-active --quiet alicia-migrate.service; then
    echo "the migrations have not run (systemctl status alicia-migrate.service);" \
        "start alicia-stack.target to start everything in order" >&2
    exit 1
fi
