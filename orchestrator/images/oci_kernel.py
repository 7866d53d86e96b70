"""The kernel of images that bring none: Debian's for clouds, with its initial RAM disk and modules, built once.

An entry of the cache holds ``vmlinuz``, ``initrd.img`` and ``modules.tar`` (``lib/modules/…``).
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import Final

from orchestrator.events.machines import ImageStateChanged
from orchestrator.images.debian_base import LOG, hook_word, logged_step, read_archive
from orchestrator.images.debian_host import require
from orchestrator.images.job_events import say_of, waiting_of
from orchestrator.images.oci_layers import plain_member
from orchestrator.images.provider_kind import Build
from orchestrator.threads import in_thread

NAME, LAYER, MODULES = "linux", "kernel", "modules.tar"
SUITE, MIRROR = "trixie", "http://deb.debian.org/debian"
SPACE: Final = 1 << 30  # bytes that a build takes
# The initial RAM disk holds what mounts /dev/vda.
CUSTOMIZE: Final = """\
#!/bin/sh
set -eu
printf 'MODULES=list\\nCOMPRESS=zstd\\nRESUME=none\\nFSTYPE=ext4\\n' > "$1/etc/initramfs-tools/conf.d/machine"
for module in virtio_pci virtio_blk ext4 virtio_rng pvpanic-pci virtio_net virtio_console; do
    echo "$module" >> "$1/etc/initramfs-tools/modules"
done
chroot "$1" update-initramfs -u
"""


def kernel_argv(output: Path, hook: Path, *, rootless: bool) -> list[str]:
    """The command that makes ``output``, a tar archive with the kernel in it. Pure."""
    return [
        "mmdebstrap",
        f"--mode={'unshare' if rootless else 'root'}",
        "--variant=minbase",
        "--format=tar",
        "--include=linux-image-cloud-amd64,initramfs-tools,zstd",
        '--aptopt=Acquire::Retries "3"',
        '--aptopt=APT::Install-Recommends "false"',
        f"--customize-hook={hook_word(hook)}",
        SUITE,
        str(output),
        MIRROR,
    ]


def kernel_key() -> str:
    """Changes with what the kernel is built of. Pure."""
    return hashlib.sha256(repr((kernel_argv(Path("x"), Path("y"), rootless=False), CUSTOMIZE)).encode()).hexdigest()


async def kernel(job: Build) -> Path:
    """The folder of the kernel, from the cache or built. Raises `ImageError`."""

    async def build(folder: Path) -> None:
        require(job.cache.root, needed=SPACE)
        detail = "Debian's kernel is built first, once for all images of this kind"
        job.bus.emit(ImageStateChanged(job.name, state="building", provider="oci", key=kernel_key(), detail=detail))
        hook, archive = folder / "customize", folder / "root.tar"
        hook.write_text(CUSTOMIZE)
        hook.chmod(0o755)
        argv = kernel_argv(archive, hook, rootless=os.geteuid() != 0)
        await logged_step("kernel", argv, log=folder / LOG, say=say_of(job), deadline=job.deadline, cwd=folder)
        await in_thread(lambda: _unpack(archive, folder))
        archive.unlink()
        hook.unlink()

    path, _ = await job.cache.obtain(NAME, LAYER, kernel_key(), build, waiting=waiting_of(job), deadline=job.deadline)
    return path


def _unpack(archive: Path, folder: Path) -> None:
    read_archive(archive, folder)
    with tarfile.open(archive) as system, tarfile.open(folder / MODULES, "w") as out:
        for member in system:
            _, found, path = member.name.partition("lib/modules/")
            # The links to a build folder lead nowhere here.
            if found and path.count("/") + member.isdir() > 0 and not (member.issym() or member.islnk()):
                content = system.extractfile(member) if member.isfile() else None
                out.addfile(plain_member(member, f"lib/modules/{path}"), content)
