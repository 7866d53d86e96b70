#!/usr/bin/env python3
"""Renders the evaluated NixOS server as the application layer of a Debian image.

    layer.py --machine server --variant V --out DIR

Units, nginx.conf, postgresql.conf, pg_hba.conf, firewall, files of /etc and the scripts that run before the units come
from the kept facts in tests/golden/nix, word by word. What they name below /nix/store is there, and leads to Debian's
programs: a package's bin/ holds just the programs that scripts/lib/check_nix_paths.py says it has, so a unit whose
script needs another one fails here as it would on NixOS.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "scripts/lib")]

from check_nix_paths import COMMANDS, package  # noqa: E402

from orchestrator.images.recipe import Ownership  # noqa: E402
from orchestrator.images.recipe_layer import tree_entries  # noqa: E402

Item = dict[str, str]  # an entry of manifest.json, with ``content`` in place of ``source`` for a text
LEFT_OUT = ("__pycache__", "mocks", "tests", "node_modules")

STORE = "/nix/store"
UNITS = "/etc/systemd/system"
PG_BIN = "/usr/lib/postgresql/17/bin"
GUESTS_OWN = ("qemu-guest-agent.service", "sshd.service")  # the way in is Debian's
CLUSTER = "/var/lib/nixos-postgresql"

# Where Debian has the programs of a package.
PLACES = {
    "coreutils": "/usr/bin",
    "findutils": "/usr/bin",
    "gnugrep": "/usr/bin",
    "gnused": "/usr/bin",
    "systemd": "/usr/bin",
}

# nginx's user is made by NixOS's activation; the base layer is the shipped image's and has none.
USERS = """
[Unit]
Description=Users of the evaluated machine
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/systemd-sysusers /etc/sysusers.d/nixos.conf
"""
# The image has a cluster of its own where NixOS's pre-start script makes one.
MOUNT = f"""
[Mount]
What={CLUSTER}
Where=/var/lib/postgresql/17
Type=none
Options=bind
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Renders the evaluated NixOS server for a Debian image.")
    parser.add_argument("--machine", choices=["server"], required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    text = (ROOT / f"tests/golden/nix/server-{options.variant}.json").read_text(encoding="utf-8")
    write(evaluated(json.loads(text), ROOT / "standin"), options.out)
    return 0


def text_file(target: str, content: str, mode: str = "0644", group: str = "root") -> Item:
    return {"type": "file", "target": target, "content": content.lstrip("\n"), "mode": mode, "group": group}


def link(target: str, to: str) -> Item:
    return {"type": "symlink", "target": target, "to": to}


def folder(target: str, mode: str = "0755", owner: str = "root", group: str = "root") -> Item:
    return {"type": "directory", "target": target, "mode": mode, "owner": owner, "group": group}


def write(items: Iterator[Item], out: Path) -> None:
    """Write the texts below ``out``, and the manifest."""
    entries = []
    for number, item in enumerate(items):
        if "content" in item:
            path = out / f"{number:04}"
            path.write_text(item.pop("content"), encoding="utf-8")
            item["source"] = path.name
        entries.append(item)
    (out / "manifest.json").write_text(json.dumps({"entries": entries}), encoding="utf-8")


def evaluated(facts: dict[str, Any], app: Path) -> Iterator[Item]:
    """Everything that the evaluation says of the server's stack, and what it names."""
    names = {package(one): one for one in re.findall(rf"{STORE}/([\w.+-]+)", json.dumps(facts))}

    def store(kind: str, inside: str = "") -> str:
        return f"{STORE}/{names[kind]}{inside}"

    for unit, text in facts["units"].items():
        if unit not in GUESTS_OWN:
            yield text_file(f"{UNITS}/{unit}", text)
    for target, entry in facts["etc"].items():
        yield text_file(f"/etc/{target}", entry["text"], entry["mode"], group=entry["group"])
    yield text_file("/etc/nginx/nginx.conf", facts["nginx"]["text"])
    yield text_file("/etc/nftables.conf", f"flush ruleset\ntable inet nixos-fw {{\n{facts['firewall']}}}\n")
    yield link(f"{UNITS}/sysinit.target.wants/nftables.service", "/usr/lib/systemd/system/nftables.service")

    yield text_file(store("postgresql.conf", "/postgresql.conf"), facts["postgresql"]["conf"] + "\n")
    yield text_file(f"{STORE}/pg_hba.conf", facts["postgresql"]["hba"])
    yield text_file(f"{STORE}/pg_ident.conf", "")
    shell = store("bash", "/bin/bash")
    yield link(shell, "/bin/bash")
    for service, script in facts["preStart"].items():
        name = f"{service}-pre-start"
        yield text_file(f"{STORE}/unit-script-{name}/bin/{name}", f"#! {shell} -e\n{script}\n", "0755")
    yield link(store("postgresql-and-plugins", "/bin"), PG_BIN)
    yield link(store("nginx", "/bin/nginx"), "/usr/sbin/nginx")
    for name in ("mime.types", "fastcgi.conf", "uwsgi_params"):
        yield link(store("nginx", f"/conf/{name}"), f"/etc/nginx/{name}")
    for command, kind in (*COMMANDS.items(), ("kill", "coreutils")):
        if kind in PLACES:
            yield link(store(kind, f"/bin/{command}"), f"{PLACES[kind]}/{command}")

    yield from patched(app, store("alicia-standin"))
    yield from patched(ROOT / "standin/mocks", store("alicia-mocks"))
    for script in sorted((ROOT / "stack").glob("*.sh")):
        text = script.read_text(encoding="utf-8").replace("#!/bin/sh\n", f"#!{shell}\n", 1)
        yield text_file(store("alicia-stack-scripts", f"/{script.name}"), text, "0755")
    yield from debians()


def patched(source: Path, target: str) -> Iterator[Item]:
    """A folder of the application; as patchShebangs does, programs name their interpreter's place."""
    for entry in tree_entries(source, target, LEFT_OUT, Ownership()):
        if entry.source is None:
            yield link(entry.target, entry.to) if entry.to else folder(entry.target)
        elif entry.mode == 0o755:
            text = entry.source.read_text(encoding="utf-8")
            yield text_file(entry.target, text.replace("#!/usr/bin/env python3", "#!/usr/bin/python3", 1), "0755")
        else:
            yield {"type": "file", "target": entry.target, "source": str(entry.source), "mode": "0644"}


def debians() -> Iterator[Item]:
    """What Debian needs around it."""
    # Debian's psql is a Perl program that looks for clusters of Debian's.
    yield link("/usr/local/bin/psql", f"{PG_BIN}/psql")
    yield link("/etc/systemd/system-generators/postgresql-generator", "/dev/null")
    yield text_file("/etc/sysusers.d/nixos.conf", "u nginx - - /var/empty\n")
    yield text_file(f"{UNITS}/nixos-users.service", USERS)
    yield link(f"{UNITS}/sysinit.target.wants/nixos-users.service", f"{UNITS}/nixos-users.service")
    yield folder(CLUSTER, "0750", "postgres", "postgres")
    yield text_file(f"{UNITS}/var-lib-postgresql-17.mount", MOUNT)
    # Debian's nginx is compiled with these places for its temporary files, and does not start without them.
    for name in ("body", "fastcgi", "proxy", "scgi", "uwsgi"):
        yield folder(f"/var/lib/nginx/{name}", "0777")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
