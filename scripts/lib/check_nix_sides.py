"""The two sides of the parity test: the Debian image's files, and the facts of an evaluation, as flat facts."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from check_nix_parity import (
    Flat,
    environment_facts,
    firewall_facts,
    ini_facts,
    nginx_facts,
    settings_facts,
    sshd_facts,
    unit_facts,
)

STACK_UNITS = (
    "postgresql.service",
    "postgresql-setup.service",
    "alicia-migrate.service",
    "mock-llm.service",
    "mock-livekit.service",
    "alicia.service",
    "nginx.service",
    "alicia-stack.target",
)
_USERADD = re.compile(r"useradd[^\n]*?--home-dir (\S+).*?--comment '([^']*)' (\w+)$", re.MULTILINE)
_INITDB = re.compile(r"--(?:encoding|locale|auth-local|auth-host)=[\w.-]+")


def debian_server(root: Path, variant: str) -> Flat:
    """The server's image, from what debian-images/render.py and the recipe say; no file of the application."""
    sys.path.insert(0, str(root / "debian-images"))
    from render_guest import guest_items  # type: ignore[import-not-found,unused-ignore]
    from render_server import server_items  # type: ignore[import-not-found,unused-ignore]

    stack = tomllib.loads((root / "stack/stack.toml").read_text(encoding="utf-8"))
    recipe = tomllib.loads((root / "debian-images/server.toml").read_text(encoding="utf-8"))
    files = {item.target: item for item in [*guest_items(), *server_items(stack, variant)]}

    def text(target: str) -> str:
        content: str | None = files[target].content
        assert content is not None
        return content

    facts: Flat = {}
    for unit in STACK_UNITS:
        for target in (f"/etc/systemd/system/{unit}", f"/etc/systemd/system/{unit}.d/10-stack.conf"):
            if target in files:
                facts |= unit_facts(unit, text(target))
    for target in ("/etc/alicia/env", "/etc/alicia/mocks.env"):
        facts |= environment_facts(target, files[target].mode, files[target].group, text(target))
    password = files["/etc/alicia/database-password"]
    facts["file /etc/alicia/database-password / access"] = f"{password.mode} root:{password.group}"
    facts["file /etc/alicia/database-password"] = password.content
    facts |= settings_facts(text("/etc/alicia/postgresql/postgresql.conf"), text("/etc/alicia/postgresql/pg_hba.conf"))
    facts |= nginx_facts(text("/etc/nginx/nginx.conf"))
    facts |= firewall_facts(text("/etc/nftables.conf"))
    customize = recipe["customize"]["server"].replace("\\\n", " ")
    for home, comment, name in _USERADD.findall(customize):
        facts[f"user {name}"] = f"{home} ({comment})"
    facts["initdb"] = sorted(_INITDB.findall(customize))
    return facts | _debian_guest(root, text)


def debian_client(root: Path) -> Flat:
    """The client's image; nothing is downloaded."""
    sys.path.insert(0, str(root / "debian-images"))
    from render_client import client_items, read_lock  # type: ignore[import-not-found,unused-ignore]
    from render_guest import guest_items  # type: ignore[import-not-found,unused-ignore]

    tools = root / "debian-images/client-tools"
    files = {item.target: item for item in [*guest_items(), *client_items(tools)]}
    versions = {one.name: one.version for one in read_lock((tools / "npm.lock.toml").read_text(encoding="utf-8"))}

    def text(target: str) -> str:
        content: str | None = files[target].content
        assert content is not None
        return content

    artifacts = files["/artifacts"]
    return {
        "folder /artifacts": f"{artifacts.mode} {artifacts.owner}:{artifacts.group}",
        "playwright / version": versions["@playwright/test"],
        "firewall / policy": "none",  # no package of a firewall is installed
        **_debian_guest(root, text),
    }


def _debian_guest(root: Path, text: Any) -> Flat:
    common = tomllib.loads((root / "debian-images/common.toml").read_text(encoding="utf-8"))
    return {
        **sshd_facts(text("/etc/ssh/sshd_config")),
        **ini_facts("user network", text("/etc/systemd/network/10-user.network")),
        **ini_facts("journald", text("/etc/systemd/journald.conf.d/10-guest.conf")),
        "resolv.conf": text("/etc/resolv.conf").splitlines(),
        **kernel_facts(common["kernel_parameters"]),
    }


def kernel_facts(parameters: list[str]) -> Flat:
    """``kernel NAME`` → values in order."""
    facts: Flat = {}
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        facts.setdefault(f"kernel {name}", []).append(value)
    return facts


def nixos_server(facts: Mapping[str, Any]) -> Flat:
    """The server, from the facts of an evaluation as they are kept."""
    flat: Flat = {}
    for unit in STACK_UNITS:
        if unit in facts["units"]:
            flat |= unit_facts(unit, facts["units"][unit])
    etc = facts["etc"]
    for name in ("alicia/env", "alicia/mocks.env"):
        flat |= environment_facts(f"/etc/{name}", etc[name]["mode"], etc[name]["group"], etc[name]["text"])
    password = etc["alicia/database-password"]
    flat["file /etc/alicia/database-password / access"] = f"{password['mode']} root:{password['group']}"
    flat["file /etc/alicia/database-password"] = password["text"]
    flat |= settings_facts(facts["postgresql"]["conf"], facts["postgresql"]["hba"])
    flat |= nginx_facts(facts["nginx"]["text"])
    flat |= firewall_facts(facts["firewall"])
    for name in ("alicia", "mocks"):
        user = facts["users"][name]
        flat[f"user {name}"] = f"{user['home']} ({user['description']})"
    flat["initdb"] = sorted(facts["postgresql"]["start"])
    return flat | _nixos_guest(facts)


def nixos_client(facts: Mapping[str, Any]) -> Flat:
    """The client, from the facts of an evaluation as they are kept."""
    artifacts = facts["browser"]["folders"]["/artifacts"]["d"]
    return {
        "folder /artifacts": f"{artifacts['mode']} {artifacts['user']}:{artifacts['group']}",
        "playwright / version": facts["browser"]["playwright"],
        **firewall_facts(facts["firewall"]),
        **_nixos_guest(facts),
    }


def _nixos_guest(facts: Mapping[str, Any]) -> Flat:
    boot = facts["boot"]
    return {
        **sshd_facts(facts["sshd"]),
        **ini_facts("user network", facts["network"]),
        **ini_facts("journald", facts["journald"]),
        "resolv.conf": facts["resolvConf"].splitlines(),
        **kernel_facts([*boot["kernelParams"], *(f"console={one}" for one in boot["consoles"])]),
    }
