"""What evaluated texts expect in packages that nobody built: each path below the store is explained, or named. Pure.

An evaluation knows the name of a package's output, not what is in it. Paths into packages of this project are looked up
among its files; for those of nixpkgs stands what somebody has looked up (in the package's recipe, or in Debian's
package of the same program). A path that nobody has explained is a failure: it would only be missed when a machine
runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PATH = re.compile(r"/nix/store/([\w.+?=-]+)((?:/[\w.+@-]+)*)")
# What is taken off a package's name: its version (a date, too), but not the name of the output after it.
_VERSION = re.compile(r"-\d[\w.]*(?:-\d+)*(?=-[a-z]+$|$)")

# The first word of a command, as far as lines of our plain scripts show it.
_COMMAND = re.compile(
    r"(?:^\s*|[|;&({`]\s*|\$\(\s*|\b(?:if|then|do|else|while|until|exec)\s+|!\s+)([a-z][\w-]*)\b(?![=\w])"
)

# Package of this project → the folder of the checkout that is copied into it.
OWN = {
    "alicia-mocks": "standin/mocks",
    "alicia-stack-scripts": "stack",
    "alicia-standin": "standin",
}
# Package of nixpkgs → what is in it, as far as these machines need it.
LOOKED_UP = {
    "bash": {"bin/bash"},
    "closure-info": {"registration"},
    "coreutils": {"bin/kill"},
    "e2e-home": {"event-reporter.cjs", "node_modules", "prepared-runner.cjs"},
    "e2fsprogs-bin": {"bin/mkfs.ext4"},
    "glibc-locales": {"lib/locale/locale-archive"},
    "initrd-linux": {"initrd"},
    "nginx": {"bin/nginx", "conf/fastcgi.conf", "conf/mime.types", "conf/uwsgi_params"},
    "openssh": {"bin/sshd"},
    "postgresql-and-plugins": {"bin/postgres"},
    "postgresql.conf": {"postgresql.conf"},
    "qemu-host-cpu-only": {"bin/qemu-img", "bin/qemu-system-x86_64"},
    "qemu-host-cpu-only-ga": {"bin/qemu-ga"},
    "systemd": {"lib"},
    "tzdata": {"share/zoneinfo"},
    "xauth": {"bin/xauth"},
}
FOLDERS = {"bin", "sbin"}  # of a PATH: they may be empty or missing
SYSTEM = {"init", "kernel", "kernel-params"}  # of nixos-system-NAME

# Command → the package whose programs a unit must have on its PATH to run it. The shell's own are not among them.
COMMANDS = {
    **dict.fromkeys(("psql", "initdb", "pg_isready"), "postgresql-and-plugins"),
    **dict.fromkeys(
        (
            "basename",
            "cat",
            "cksum",
            "cp",
            "cut",
            "date",
            "dirname",
            "env",
            "head",
            "ln",
            "ls",
            "mkdir",
            "mktemp",
            "mv",
            "rm",
            "seq",
            "sha256sum",
            "sleep",
            "sort",
            "stat",
            "tail",
            "tee",
            "timeout",
            "touch",
            "tr",
            "uniq",
            "wc",
        ),
        "coreutils",
    ),
    **dict.fromkeys(("grep", "egrep"), "gnugrep"),
    "sed": "gnused",
    **dict.fromkeys(("find", "xargs"), "findutils"),
    **dict.fromkeys(("journalctl", "systemctl", "systemd-notify"), "systemd"),
    # Not on a unit's PATH unless the module puts it there.
    "awk": "gawk",
    "curl": "curl",
    "jq": "jq",
    "nc": "netcat",
    "openssl": "openssl",
    "python3": "python3",
    "setpriv": "util-linux-bin",
    "flock": "util-linux-bin",
    "runuser": "util-linux-bin",
    "ip": "iproute2",
    "ps": "procps",
    "pgrep": "procps",
    "xxd": "xxd",
}
# Said at the end of each run of scripts/check-nix.
NOT_KNOWABLE = (
    "whether a package of nixpkgs builds at all, and its outputs hold what was looked up for them",
    "whether the initial RAM disk finds the disk and the store, and switches to the system",
    "whether PostgreSQL makes its cluster, and the browser starts, in what nixpkgs' hardening leaves them",
    "whether Linux 6.18 answers a question of its configuration otherwise than 6.12 and 7.2 both do",
)


def package(name: str) -> str:
    """The name of a store path without its version: ``postgresql-and-plugins-17.10`` → ``postgresql-and-plugins``."""
    return _VERSION.sub("", name, count=1)


def path_problems(root: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    """Paths into packages that nothing explains, and commands that a script of a unit would not find."""
    for name, inside in sorted(set(_PATH.findall(json.dumps(facts)))):
        wanted = inside.strip("/")
        if not wanted or wanted in FOLDERS or _explained(root, facts, name, wanted):
            continue
        yield f"nobody has looked whether {name} holds {wanted} (check_nix_paths.py)"
    for unit, text in facts["units"].items():
        yield from _commands(root, unit, text, facts.get("preStart", {}))


def _explained(root: Path, facts: Mapping[str, Any], name: str, wanted: str) -> bool:
    kind = package(name)
    if kind in OWN:
        found = root / OWN[kind] / wanted
        return found.is_dir() or (found.is_file() and (found.suffix == ".sh" or bool(found.stat().st_mode & 0o111)))
    if kind.startswith("nixos-system-"):
        return wanted in SYSTEM
    if kind.startswith("unit-script-"):
        script = kind.removeprefix("unit-script-")
        return wanted == f"bin/{script}" and script.removesuffix("-pre-start") in facts.get("preStart", {})
    return wanted in LOOKED_UP.get(kind, set())


def _commands(root: Path, unit: str, text: str, before: Mapping[str, str]) -> Iterator[str]:
    """Each script that a unit runs, against the PATH of this very unit."""
    found = re.search(r'^Environment="PATH=(.*)"$', text, re.MULTILINE)
    there = {package(one.split("/")[3]) for one in found[1].split(":") if one.endswith("/bin")} if found else set()
    scripts = {
        path: (root / "stack" / path).read_text(encoding="utf-8")
        for path in re.findall(r"alicia-stack-scripts/([\w.-]+\.sh)", text)
        if (root / "stack" / path).is_file()
    }
    name = unit.removesuffix(".service")
    if name in before:
        scripts[f"{name}-pre-start"] = before[name]
    for script, body in scripts.items():
        for command in sorted(_used(body)):
            if COMMANDS[command] not in there:
                yield f"{unit}: {script} calls {command}, and {COMMANDS[command]} is not on the unit's PATH"


def _used(script: str) -> set[str]:
    """The known commands at the beginning of a command in a shell script; a name with a path before it is none."""
    found: set[str] = set()
    for line in script.splitlines():
        code = re.sub(r"(^|\s)#.*", "", line)
        found.update(word for word in _COMMAND.findall(code) if word in COMMANDS)
    return found
