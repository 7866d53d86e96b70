"""A host on which `nixos-rebuild build-vm` gives run scripts as nixpkgs writes them, for machines of Debian's images.

The scripts are the evaluated texts in tests/golden/nix, word by word; only the places in /nix/store are others: kernel,
initial RAM disk, kernel parameters and the store's image lie in the built folder, programs are the host's, and the disk
that the script converts from an empty file system becomes an overlay over the Debian image's root.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from host import ROOT

GOLDEN = ROOT / "tests/golden/nix"
FLAKES = {"server": "server-mock", "client": "client"}  # attribute of the flake → machine of the facts
# Of the kernel's parameters these two belong to the root file system; Debian's image has its own.
ROOT_PARAMETERS = re.compile(r"(?:root|rootfstype|rootflags)=\S+|rw|systemd\.firstboot=\S+")

NIXOS_REBUILD = """#!/bin/sh
# build-vm --flake DIR#NAME
echo "$@" >> {calls}
[ "$1" = build-vm ] && [ "$2" = --flake ] || {{ echo "error: unexpected call: $*" >&2; exit 1; }}
echo "building the system configuration..." >&2
ln -sfn {store}/"${{3##*#}}" result
echo "Done. The virtual machine can be started by running $(readlink result)/bin/run-${{3##*#}}-vm" >&2
"""
# The script's own calls: an empty file system of 4 GiB, and its conversion, which is where Debian's root comes in.
QEMU_IMG = """#!/bin/sh
[ "$1" = convert ] || exec {real} "$@"
for target in "$@"; do :; done
exec {real} create -q -f qcow2 -b {root} -F raw "$target"
"""


def facts(attribute: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{FLAKES[attribute]}.json").read_text(encoding="utf-8"))
    return found


def build(store: Path, attribute: str, image: Path) -> Path:
    """The folder that ``result`` links to, over a Debian image."""
    folder = store / attribute
    one = facts(attribute)
    real = shutil.which("qemu-img")
    assert real is not None
    executable(folder / "tools/qemu-img", QEMU_IMG.format(real=real, root=shlex.quote(str(image / "root.raw"))))
    (folder / "nix-store.img").write_bytes(bytes(1 << 20))
    (folder / "kernel-params").write_text(kernel_parameters(image, one))
    executable(folder / f"bin/run-{attribute}-vm", script(folder, image, one))
    return folder


def kernel_parameters(image: Path, one: dict[str, Any]) -> str:
    """Debian's root, and everything else as it was evaluated."""
    debians = [word for word in (image / "kernel-params").read_text().split() if ROOT_PARAMETERS.fullmatch(word)]
    evaluated = [word for word in one["boot"]["kernelParams"] if not ROOT_PARAMETERS.fullmatch(word)]
    return " ".join([*debians, *evaluated])


def script(folder: Path, image: Path, one: dict[str, Any]) -> str:
    """The evaluated script with the places of this host."""
    text: str = one["runScript"]["text"]
    paths = (
        (r"nixos-system-[\w.-]+/kernel-params", folder / "kernel-params"),
        (r"nixos-system-[\w.-]+/kernel", image / "vmlinuz"),
        (r"nixos-system-[\w.-]+/init", Path("/sbin/init")),
        (r"initrd-linux-[\w.-]+/initrd", image / "initrd.img"),
        (r"closure-info/registration", Path("/dev/null")),
        (r"nix-store\.img", folder / "nix-store.img"),
        (r"[\w.-]+/bin/qemu-img", folder / "tools/qemu-img"),
        (r"[\w.-]+/bin/qemu-system-x86_64", host_program("qemu-system-x86_64")),
        (r"[\w.-]+/bin/mkfs\.ext4", host_program("mkfs.ext4")),
        (r"bash-[\w.-]+/bin/bash", Path("/bin/bash")),
        (r"coreutils-[\w.-]+/bin", Path("/usr/bin")),
    )
    for pattern, place in paths:
        text, count = re.subn(rf"/nix/store/{pattern}(?![\w./-])", str(place), text)
        assert count, pattern
    assert "/nix/store" not in text, text
    return text


def host_program(name: str) -> Path:
    found = shutil.which(name, path="/usr/local/bin:/usr/bin:/usr/sbin:/sbin:/bin")
    assert found is not None, name
    return Path(found)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
