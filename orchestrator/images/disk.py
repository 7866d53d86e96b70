"""Images of the provider ``disk``: the file in the cache, and a run script that QEMU boots it with.

The file is copied, so that one that changes later changes no running machine. Its guest was not made for us:
`orchestrator.guest.seed` tells it our key and its addresses.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Protocol

from orchestrator.deadline import monotonic
from orchestrator.errors import ImageError
from orchestrator.images.contract import BuiltImage, GuestFacts
from orchestrator.images.disk_file import HEAD, firmware_of, format_of
from orchestrator.images.firmware import find_firmware
from orchestrator.images.provider_kind import Build
from orchestrator.images.runscript import disk_script
from orchestrator.process import run
from orchestrator.threads import in_thread

LAYER: Final = "disk"
FIRMWARE_FILE: Final = "firmware.fd"
CHUNK: Final = 1 << 22
VERSION: Final = "1"  # raise it whenever this file makes other images of the same disk


async def build_disk(job: Build, disk: Path, *, sha256: str, firmware: str) -> BuiltImage:
    """The image of a disk, from the cache or made.

    Args:
        sha256: of the file, hex; empty: whatever it is. An image of it that is in the cache is taken without a look.
        firmware: ``bios`` or ``uefi``; empty: as the disk is made for.

    Raises:
        ImageError: there is no such file, QEMU cannot overlay its format, it is not what ``sha256`` says, or this
            host has no firmware for it.
    """
    started = monotonic()
    content = sha256 or await in_thread(lambda: _digest(disk, _xxh3()))
    key = hashlib.sha256(
        f"{VERSION} {content} {firmware} {disk_script(job.name, DISK_NAMES['raw'])}".encode()
    ).hexdigest()

    async def make(folder: Path) -> None:
        async with job.turn:
            if sha256:
                found = await in_thread(lambda: _digest(disk, hashlib.sha256()))
                if found != sha256:
                    raise ImageError(
                        f"{disk} is not the disk that the topology names",
                        why=f"its SHA-256 is {found}, and not {sha256}",
                        hint="download it again, or change sha256",
                    )
            await _fill(folder, disk, firmware, job)

    def waiting(holder: str, elapsed: float) -> None:
        del holder, elapsed  # a copy takes seconds

    path, cached = await job.cache.obtain(job.name, LAYER, key, make, waiting=waiting, deadline=job.deadline)
    return BuiltImage(job.name, path, key, "disk", cached, monotonic() - started)


DISK_NAMES: Final = {"raw": "disk.raw", "qcow2": "disk.qcow2"}


async def _fill(folder: Path, disk: Path, firmware: str, job: Build) -> None:
    kind = format_of(disk, await in_thread(lambda: _begin(disk)))
    target, head = folder / DISK_NAMES[kind], folder / "head"
    await run(["cp", "--sparse=always", "--reflink=auto", "--", str(disk), str(target)], deadline=job.deadline)
    argv = ["qemu-img", "dd", "-f", kind, "-O", "raw", f"bs={HEAD}", "count=1", f"if={target}", f"of={head}"]
    await run(argv, deadline=job.deadline)
    starts = firmware or firmware_of(head.read_bytes())
    head.unlink()
    if starts == "uefi":
        found = find_firmware("x86_64")
        try:
            (folder / FIRMWARE_FILE).write_bytes(found.content())
        except OSError as error:
            raise ImageError("the UEFI firmware cannot be read", why=str(error), where=[str(found.code)]) from error
    script = folder / "bin" / f"run-{job.name}-vm"
    script.parent.mkdir()
    script.write_text(disk_script(job.name, target.name, firmware=FIRMWARE_FILE if starts == "uefi" else ""))
    script.chmod(0o755)
    GuestFacts(foreign=True).write(folder)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


def _xxh3() -> _Hash:
    import xxhash

    digest: _Hash = xxhash.xxh3_128()
    return digest


def _digest(disk: Path, digest: _Hash) -> str:
    """Of the whole file. Raises `ImageError` where it cannot be read."""
    try:
        with disk.open("rb") as file:
            while block := file.read(CHUNK):
                digest.update(block)
    except OSError as error:
        raise _unreadable(disk, error) from error
    return digest.hexdigest()


def _begin(disk: Path) -> bytes:
    try:
        with disk.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise _unreadable(disk, error) from error


def _unreadable(disk: Path, error: OSError) -> ImageError:
    return ImageError(
        f"the disk {disk} cannot be read",
        why=error.strerror or str(error),
        hint="its path is meant from the folder of the topology",
    )
