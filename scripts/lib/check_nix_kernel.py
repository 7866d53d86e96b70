"""Which options of the kernel a machine needs, and what nixpkgs' own program answers when the kernel is configured.

No evaluation shows the answers: nixpkgs states about 700 options, and a program (generate-config.pl) answers some ten
thousand questions of the kernel's `make config` at build time. A module that is not built ends the build of the
initial RAM disk. So the program is run on sources of kernels (`scripts/check-nix --kernel-source DIR`), and what it
answered for the options below is kept in tests/golden/nix/kernel.json, with a digest of the options that nixpkgs
stated.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

KEPT = "kernel.json"
LIMIT = 1800.0  # seconds for one of the two programs
TOOLS = ("make", "gcc", "flex", "bison", "perl")

# Module as modprobe names it → the option that builds it (CONFIG_…).
MODULES = {
    "9p": "9P_FS",
    "9pnet_virtio": "NET_9P_VIRTIO",
    "autofs": "AUTOFS_FS",
    "efivarfs": "EFIVAR_FS",
    "ext2": "EXT2_FS",
    "ext4": "EXT4_FS",
    "pvpanic-pci": "PVPANIC_PCI",
    "squashfs": "SQUASHFS",
    "tpm-crb": "TCG_CRB",
    "tpm-tis": "TCG_TIS",
    "virtio_balloon": "VIRTIO_BALLOON",
    "virtio_blk": "VIRTIO_BLK",
    "virtio_console": "VIRTIO_CONSOLE",
    "virtio_gpu": "DRM_VIRTIO_GPU",
    "virtio_mmio": "VIRTIO_MMIO",
    "virtio_net": "VIRTIO_NET",
    "virtio_pci": "VIRTIO_PCI",
    "virtio_rng": "HW_RANDOM_VIRTIO",
    "virtio_scsi": "SCSI_VIRTIO",
    "virtiofs": "VIRTIO_FS",
}

# What a machine relies on besides: option → (the answers that will do, what for).
FEATURES = {
    "NET": ("y", "everything"),
    "PCI": ("y", "every device"),
    "SERIAL_8250_CONSOLE": ("y", "the console on the serial port"),
    "DEVTMPFS": ("y", "device nodes before udev"),
    "BLK_DEV_INITRD": ("y", "the initial RAM disk"),
    "SECURITY_LANDLOCK": ("y", "lsm=landlock"),
    "VMGENID": ("ym", "new random numbers in each clone of a saved machine"),
    "NF_TABLES": ("ym", "the firewall"),
    "NFT_CT": ("ym", "the firewall's rule for established connections"),
    "OVERLAY_FS": ("ym", "stage 1 of NixOS"),
    "TMPFS": ("y", "/run"),
    "CGROUPS": ("y", "systemd"),
}
# Compressor of the store image → the option with which the kernel reads it.
COMPRESSORS = {
    "gzip": "SQUASHFS_ZLIB",
    "lzo": "SQUASHFS_LZO",
    "lz4": "SQUASHFS_LZ4",
    "xz": "SQUASHFS_XZ",
    "zstd": "SQUASHFS_ZSTD",
}

OPTIONS = tuple(sorted({*MODULES.values(), *FEATURES, *COMPRESSORS.values()}))


def kernel_problems(boot: Mapping[str, Any], kept: Mapping[str, Any]) -> Iterator[str]:
    """What a machine asks of its kernel and would not get, as far as the kept answers tell.

    Args:
        boot: of a machine's facts.
        kept: the content of kernel.json.
    """
    if boot["kernelConfig"] != kept["stated"]:
        yield "nixpkgs states other options for its kernel than the kept answers are for: --kernel-source, --update"
        return
    compressor = (boot["storeCompression"] or "").split(" ")[0]
    wanted = {option: reason for option, (_, reason) in FEATURES.items()}
    if compressor:
        if compressor not in COMPRESSORS:
            yield f"nobody knows with which option a kernel reads a store compressed by {compressor}"
        else:
            wanted[COMPRESSORS[compressor]] = f"a store compressed by {compressor}"
    for source, answers in kept["answers"].items():
        for module in sorted({*boot["initrdModules"], *boot["availableInitrdModules"]}):
            option = MODULES.get(module)
            if option is None:
                yield f"nobody knows which option builds {module} of the initial RAM disk: add it to MODULES"
            elif answers.get(option, "n") not in ("y", "m"):
                yield (
                    f"the initial RAM disk asks for {module}, which nixpkgs does not build: "
                    f"CONFIG_{option} is not set (Linux {source}), so that no machine can be built"
                )
        for option, reason in wanted.items():
            fits, _ = FEATURES.get(option, ("y", ""))
            if answers.get(option, "n") not in fits:
                yield f"CONFIG_{option} is {answers.get(option, 'not set')} (Linux {source}): {reason}"


def answers_of(config: str) -> dict[str, str]:
    """The options of ours in the text of a kernel's ``.config``: y, m, or absent."""
    found = dict(re.findall(r"^CONFIG_(\w+)=([ym])$", config, re.MULTILINE))
    return {option: found[option] for option in OPTIONS if option in found}


def source_version(source: Path) -> str:
    """The version that the Makefile of a kernel's sources tells.

    Raises:
        ValueError: this is no such folder.
    """
    makefile = source / "Makefile"
    text = makefile.read_text(encoding="utf-8") if makefile.is_file() else ""
    parts = [re.search(rf"^{name} = (\d+)$", text, re.MULTILINE) for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if not all(parts):
        raise ValueError(f"{source} holds no sources of Linux")
    return ".".join(part[1] for part in parts if part is not None)


def generate(nixpkgs: Path, stated: str, source: Path, work: Path) -> dict[str, str]:
    """What nixpkgs' program answers on these sources; they are copied, since its question mark is patched in.

    Raises:
        ValueError: a tool is missing, or a step failed (with its last lines).
    """
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise ValueError(f"no {', '.join(missing)} on PATH: the kernel's configuration cannot be made")
    tree, build = work / "source", work / "build"
    shutil.copytree(source, tree, symlinks=True, ignore=_unneeded)
    conf = tree / "scripts/kconfig/conf.c"
    text = conf.read_text(encoding="utf-8")
    marked = re.sub(r"^(\s*fflush\(stdout\);)", r'printf("###");\n\1', text, flags=re.MULTILINE)
    conf.write_text(marked, encoding="utf-8")  # as configfile's postPatch does
    build.mkdir()
    (build / "kernel-config").write_text(stated, encoding="utf-8")
    _step(["make", "-C", str(tree), f"O={build}", "defconfig", "ARCH=x86_64"], work)
    program = nixpkgs / "pkgs/os-specific/linux/kernel/generate-config.pl"
    _step(
        ["perl", "-w", str(program)],
        work,
        ARCH="x86_64",
        CROSS_COMPILE="",
        KERNEL_CONFIG=str(build / "kernel-config"),
        AUTO_MODULES="1",
        PREFER_BUILTIN="",
        BUILD_ROOT=str(build),
        SRC=str(tree),
        MAKE_FLAGS="",
        ignoreConfigErrors="1",
    )
    return answers_of((build / ".config").read_text(encoding="utf-8"))


def _unneeded(folder: str, names: list[str]) -> set[str]:
    """Program text of the kernel itself: its configuration needs none, and it is most of the gigabyte."""
    if {"scripts", "arch", "include", "tools"} & set(Path(folder).parts):
        return set()
    return {name for name in names if name.endswith((".c", ".h", ".S", ".rst"))}


def _step(argv: list[str], work: Path, **extra: str) -> None:
    done = subprocess.run(  # a program that takes longer than that is a bug worth its traceback
        argv,
        cwd=work,
        env={**os.environ, **extra},
        text=True,
        timeout=LIMIT,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        raise ValueError("\n".join([f"{argv[0]} exited with {done.returncode}", *done.stdout.splitlines()[-15:]]))


def read_kept(golden: Path) -> dict[str, Any]:
    """The content of kernel.json."""
    kept: dict[str, Any] = json.loads((golden / KEPT).read_text(encoding="utf-8"))
    return kept
