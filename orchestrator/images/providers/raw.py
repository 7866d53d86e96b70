"""The provider ``raw``: a plain disk image that boots by itself, such as an appliance that somebody else made.

The disk is copied into the cache, so that a file that changes later changes no running machine, and gets a run script
of ours. What must be in it is what every image has (docs/images.md): systemd, qemu-guest-agent, sshd with key login for
root, a console on ttyS0, and a boot loader that SeaBIOS starts. Its kernel is its own, so that kernel parameters given
to a command do not reach it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

from orchestrator.errors import ImageError
from orchestrator.images.provider_kind import Build, ImageProvider
from orchestrator.images.runscript import BEFORE_QEMU, before_qemu
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import HostPath

if TYPE_CHECKING:
    from orchestrator.images.contract import BuiltImage

DISK: Final = "disk.raw"
LAYER: Final = "raw"
CHUNK: Final = 1 << 22
# How files that are no raw disks begin; QEMU would take each for a disk that does not boot.
OTHER_FORMATS: Final = {b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"vhdxfile": "vhdx", b"conectix": "vpc"}

RUN_SCRIPT: Final = """\
#!/bin/sh
# Starts a virtual machine of this disk, with the contract of the script that `nixos-rebuild build-vm` makes:
# NIX_DISK_IMAGE, USE_TMPDIR with TMPDIR, QEMU_NET_OPTS, QEMU_OPTS, further arguments to QEMU.
set -e

{before_qemu}
# shellcheck disable=SC2086 # QEMU_OPTS is split on blanks, as the contract says
exec qemu-system-x86_64 -machine accel=kvm:tcg -cpu max \\
    -name {name} \\
    -m 1024 \\
    -smp 1 \\
    -device virtio-rng-pci \\
    -net nic,netdev=user.0,model=virtio -netdev user,id=user.0,"$QEMU_NET_OPTS" \\
    -drive cache=writeback,file="$disk",id=drive1,if=none,index=1,werror=report \\
    -device virtio-blk-pci,bootindex=1,drive=drive1,serial=root \\
    -device virtio-keyboard \\
    $QEMU_OPTS \\
    "$@"
"""


@dataclass(frozen=True, slots=True)
class RawImage(ImageProvider):
    kind: ClassVar[str] = "raw"
    title: ClassVar[str] = "raw disk"

    raw: Annotated[Path, Key(HostPath(), "a disk image (raw, booted by BIOS) that has all that every image needs")]

    def exists(self, root: Path) -> bool:
        del root
        return self.raw.is_file()

    async def build(self, job: Build) -> BuiltImage:
        from orchestrator.deadline import monotonic
        from orchestrator.images.contract import BuiltImage
        from orchestrator.process import run
        from orchestrator.threads import in_thread

        started = monotonic()
        key = await in_thread(lambda: content_key(self.raw))

        def waiting(holder: str, elapsed: float) -> None:
            del holder, elapsed  # a copy takes seconds

        async def copy(folder: Path) -> None:
            async with job.turn:
                argv = ["cp", "--sparse=always", "--reflink=auto", "--", str(self.raw), str(folder / DISK)]
                await run(argv, deadline=job.deadline)
            script = folder / "bin" / f"run-{job.name}-vm"
            script.parent.mkdir()
            script.write_text(RUN_SCRIPT.format(name=job.name, before_qemu=before_qemu(job.name, DISK)))
            script.chmod(0o755)

        path, cached = await job.cache.obtain(job.name, LAYER, key, copy, waiting=waiting, deadline=job.deadline)
        return BuiltImage(job.name, path, key, self.kind, cached, monotonic() - started)


def content_key(disk: Path) -> str:
    """Changes whenever the disk or the run script does. Reads the whole file.

    Raises:
        ImageError: there is no such file, or it is of another format.
    """
    import xxhash

    digest = xxhash.xxh3_128((RUN_SCRIPT + BEFORE_QEMU).encode())
    try:
        with disk.open("rb") as file:
            begin = file.read(CHUNK)
            if name := next((name for mark, name in OTHER_FORMATS.items() if begin.startswith(mark)), ""):
                target = re.sub(r"\.[a-z0-9]+$", "", disk.name) + ".new.raw"
                raise ImageError(
                    f"{disk} is no raw disk",
                    why=f"it begins like a disk of the format {name}",
                    hint=f"qemu-img convert -O raw {disk.name} {target}",
                )
            while begin:
                digest.update(begin)
                begin = file.read(CHUNK)
    except OSError as error:
        raise ImageError(f"the disk {disk} cannot be read", why=error.strerror or str(error)) from error
    return digest.hexdigest()


KIND = RawImage
