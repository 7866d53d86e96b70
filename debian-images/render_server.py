"""The server's files, out of stack.toml. Pure, apart from the listing of the application's folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from render_text import (
    Item,
    config_json,
    environment_file,
    folder,
    link,
    nginx_conf,
    postgresql_conf,
    substitute,
    text_file,
    unit_text,
)

Stack = Mapping[str, Any]

APP, MOCKS, STACK = "/opt/alicia", "/opt/mocks", "/usr/local/lib/alicia-stack"
PG_BIN, PG_DATA, PG_CONF = (
    "/usr/lib/postgresql/17/bin",
    "/var/lib/postgresql/17/main",
    "/etc/alicia/postgresql",
)
SYSTEM_UNITS = "/etc/systemd/system"

NAMES = {"app": APP, "mocks": MOCKS, "stack": STACK, "pgbin": PG_BIN, "nginx-user": "www-data"}


def server_items(stack: Stack, variant: str) -> list[Item]:
    """Everything but the application and the scripts.

    Raises:
        ValueError: the stack has no such variant.
    """
    if variant not in stack["environment"] or variant == "common":
        known = ", ".join(name for name in stack["environment"] if name != "common")
        raise ValueError(f"no variant {variant!r}; there are {known}")
    names = {**NAMES, "variant": variant, "config.json": config_json(stack["frontend"][variant])}
    database = stack["database"]
    environment = {**stack["environment"]["common"], **stack["environment"][variant]}
    secrets = {**stack["secrets"]["common"], **stack["secrets"][variant]}
    mocks = {name: secrets[name] for name in stack["secrets"]["mocks"]["variables"] if name in secrets}
    return [
        folder("/etc/alicia"),
        text_file("/etc/alicia/env", environment_file(secrets), "0640", group="alicia"),
        text_file("/etc/alicia/mocks.env", environment_file(mocks), "0640", group="mocks"),
        text_file(database["setup_file"], f"{database['password']}\n", "0640", group="postgres"),
        # Debian's psql is a Perl program that chooses among clusters and starts this one: 0.4 s of an emulated CPU.
        link("/usr/local/bin/psql", f"{PG_BIN}/psql"),
        folder(PG_CONF),
        text_file(
            f"{PG_CONF}/postgresql.conf",
            postgresql_conf(
                database["settings"],
                {
                    "data_directory": PG_DATA,
                    "hba_file": f"{PG_CONF}/pg_hba.conf",
                    "ident_file": f"{PG_DATA}/pg_ident.conf",
                },
            ),
        ),
        text_file(f"{PG_CONF}/pg_hba.conf", "".join(f"{line}\n" for line in database["hba"])),
        text_file(
            "/etc/nginx/nginx.conf",
            nginx_conf(stack["nginx"], variant=variant, user=names["nginx-user"], names=names),
        ),
        text_file("/etc/nftables.conf", firewall(stack["firewall"]["tcp"])),
        link(
            f"{SYSTEM_UNITS}/sysinit.target.wants/nftables.service",
            "/usr/lib/systemd/system/nftables.service",
        ),
        link("/etc/systemd/system-generators/postgresql-generator", "/dev/null"),
        *_units(stack, variant, environment, names),
    ]


def _units(stack: Stack, variant: str, environment: Mapping[str, str], names: Mapping[str, str]) -> list[Item]:
    absent = stack["stack"]["absent"][variant]
    present = [unit for unit in stack["stack"]["units"] if unit not in absent]
    items = []
    for unit, sections in stack["units"].items():
        if unit in absent:
            continue
        if unit == "postgresql.service":
            sections = {**sections, "Service": {**sections["Service"], **POSTGRESQL_HERE}}
        if unit == "alicia.service":
            sections = {**sections, "Environment": environment}
        is_drop_in = unit == "nginx.service"
        path = f"{SYSTEM_UNITS}/{unit}.d/10-stack.conf" if is_drop_in else f"{SYSTEM_UNITS}/{unit}"
        items.append(text_file(path, unit_text(sections, names)))
    target = {
        "Unit": {
            "Description": "The whole stack, started by systemd alone",
            "Wants": present,
            "After": present,
        }
    }
    items.append(text_file(f"{SYSTEM_UNITS}/{stack['stack']['target']}", unit_text(target, names)))
    return items


# Debian's own postgresql.service starts nothing and is always active; the stack's is the server itself.
POSTGRESQL_HERE: Mapping[str, object] = {
    "RuntimeDirectoryMode": "2775",
    "ExecStart": f"{PG_BIN}/postgres -c config_file={PG_CONF}/postgresql.conf",
    "ExecReload": "/bin/kill -HUP $MAINPID",
    "ReadWritePaths": ["/var/lib/postgresql", "/var/log/postgresql"],
}


def firewall(ports: list[int]) -> str:
    """``nftables.conf``: the ports for everybody, SSH for the host's side of the user network only."""
    return f"""#!/usr/sbin/nft -f
flush ruleset

table inet filter {{
    chain input {{
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        ct state invalid drop
        meta l4proto {{ icmp, ipv6-icmp }} accept
        ip saddr 10.0.2.2 tcp dport 22 accept
        tcp dport {{ {", ".join(str(port) for port in ports)} }} accept
    }}
}}
"""


def script_items(stack_folder: Path) -> list[Item]:
    """The stack's shell scripts, executable."""
    return [
        Item("file", f"{STACK}/{script.name}", source=script, mode="0755")
        for script in sorted(stack_folder.glob("*.sh"))
    ]


__all__ = ["APP", "MOCKS", "firewall", "script_items", "server_items", "substitute"]
