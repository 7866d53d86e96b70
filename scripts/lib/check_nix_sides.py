"""The two sides of the parity test: the Debian image's files, and the facts of an evaluation, as flat facts."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
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

from orchestrator.images.manifest import LayerEntry
from orchestrator.images.npm_packages import read_lock
from orchestrator.images.recipe import Recipe
from orchestrator.images.recipe_layer import DROP_IN, file_entries, writer
from orchestrator.images.recipe_load import load_recipe

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
_INITDB = re.compile(r"--(?:encoding|locale|auth-local|auth-host)=[\w.-]+")


def debian_server(root: Path, variant: str) -> Flat:
    """The server's image, from what its recipe says."""
    recipe, files, text = _recipe_files(root / "debian-images/server.toml", variant)
    facts: Flat = {}
    for unit in STACK_UNITS:
        for target in (f"/etc/systemd/system/{unit}", f"/etc/systemd/system/{unit}.d/{DROP_IN}"):
            if target in files:
                facts |= unit_facts(unit, text(target))
    for target in ("/etc/alicia/env", "/etc/alicia/mocks.env"):
        facts |= environment_facts(target, f"{files[target].mode:04o}", files[target].group, text(target))
    password = files["/etc/alicia/database-password"]
    facts["file /etc/alicia/database-password / access"] = f"{password.mode:04o} root:{password.group}"
    facts["file /etc/alicia/database-password"] = text("/etc/alicia/database-password")
    facts |= settings_facts(text("/etc/alicia/postgresql/postgresql.conf"), text("/etc/alicia/postgresql/pg_hba.conf"))
    facts |= nginx_facts(text("/etc/nginx/nginx.conf"))
    facts |= firewall_facts(text("/etc/nftables.conf"))
    for name in ("alicia", "mocks"):
        facts[f"user {name}"] = f"{recipe.users[name].home} ({recipe.users[name].comment})"
    facts["initdb"] = sorted(_INITDB.findall(recipe.run["cluster"].text))
    return facts | _debian_guest(recipe, text)


def debian_client(root: Path) -> Flat:
    """The client's image; nothing is downloaded."""
    recipe, files, text = _recipe_files(root / "debian-images/client.toml", "mock")
    artifacts = files["/artifacts"]
    packages = read_lock(recipe.npm["e2e"].lock, only=recipe.npm["e2e"].only, architecture="amd64")
    versions = {one.path.removeprefix("node_modules/"): one.version for one in packages}
    return {
        "folder /artifacts": f"{artifacts.mode:04o} {artifacts.owner}:{artifacts.group}",
        "playwright / version": versions["@playwright/test"],
        "firewall / policy": "none",  # no package of a firewall is installed
        **_debian_guest(recipe, text),
    }


def _recipe_files(path: Path, variant: str) -> tuple[Recipe, dict[str, LayerEntry], Callable[[str], str]]:
    """A recipe, its files by their target, and what gives the text of one."""
    recipe = load_recipe(path, variant=variant)
    folder = Path(tempfile.mkdtemp(prefix="check-nix-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = {entry.target: entry for entry in file_entries(recipe, writer(folder))}

    def text(target: str) -> str:
        source = files[target].source
        assert source is not None
        return source.read_text(encoding="utf-8")

    return recipe, files, text


def _debian_guest(recipe: Recipe, text: Callable[[str], str]) -> Flat:
    return {
        **sshd_facts(text("/etc/ssh/sshd_config")),
        **ini_facts("user network", text("/etc/systemd/network/10-user.network")),
        **ini_facts("journald", text("/etc/systemd/journald.conf.d/10-guest.conf")),
        "resolv.conf": text("/etc/resolv.conf").splitlines(),
        **kernel_facts(list(recipe.kernel_parameters)),
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
