"""Images of the provider ``oci``: the layers of a container image with systemd in it, on a disk, with Debian's kernel.

Its entry point, command and variables are those of a container and are not used: systemd is process 1. Like a disk of
somebody else, its guest is told our key and its addresses at its first boot (`orchestrator.guest.seed`).
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import IO, Final

from orchestrator.deadline import monotonic
from orchestrator.errors import ImageError
from orchestrator.events.machines import ImageStateChanged
from orchestrator.events.run import Note
from orchestrator.images.contract import BuiltImage, GuestFacts
from orchestrator.images.debian_base import INITRD, LOG, VMLINUZ, as_root, logged_step, mke2fs_argv
from orchestrator.images.debian_host import require
from orchestrator.images.job_events import say_of, waiting_of
from orchestrator.images.oci_kernel import MODULES, kernel, kernel_key
from orchestrator.images.oci_layers import OpenBlob, Overlay, overlay_of, plain_member, write_merged
from orchestrator.images.oci_layout import Layout
from orchestrator.images.provider_kind import Build
from orchestrator.images.runscript import kernel_params, run_script
from orchestrator.threads import in_thread

LAYER: Final = "oci"
VERSION: Final = "1"  # raise it whenever this file makes other images of the same layers
ROOM: Final = 1 << 30  # bytes of the disk beyond the content; it is sparse
MEMORY: Final = 1024  # MiB, what the run script asks for
PARAMETERS: Final = (
    "root=/dev/vda",
    "rootfstype=ext4",
    "rw",
    "console=tty0",
    "console=ttyS0,115200n8",
    "panic=0",
    "mitigations=off",
    "no_timer_check",
    "cryptomgr.notests",
    "audit=0",
    "lsm=landlock",
)
# What a machine cannot do without: any of the files, and the package that has it.
NEEDED: Final = (
    (("/usr/lib/systemd/systemd", "/lib/systemd/systemd"), "systemd-sysv", "systemd"),
    (("/usr/bin/udevadm", "/bin/udevadm", "/sbin/udevadm"), "udev", "udev, by which systemd knows devices"),
    (("/usr/sbin/sshd", "/usr/bin/sshd"), "openssh-server", "sshd"),
    (("/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"), "iproute2", "ip, which gives the cards their addresses"),
    (
        ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd", "/usr/sbin/NetworkManager"),
        "systemd",
        "systemd-networkd or NetworkManager",
    ),
)
AGENT: Final = ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga")
NETWORKD: Final = ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd")
# QEMU's user network always has these addresses.
NETWORK_FILE: Final = "/etc/systemd/network/10-orchestrator-user.network"
NETWORK: Final = """\
[Match]
MACAddress=52:54:00:12:34:56
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
LinkLocalAddressing=no
IPv6AcceptRA=no
ConfigureWithoutCarrier=yes
"""


async def build_oci(job: Build, path: Path) -> BuiltImage:
    """The image of an OCI layout, from the cache or made.

    Raises:
        ImageError: it is no OCI image, it is damaged, it lacks what a machine needs, or this host cannot build.
    """
    started = monotonic()
    layout = Layout(path)
    layers = await in_thread(lambda: layout.layers("amd64"))
    texts = (run_script(job.name, memory=MEMORY, cpus=1), *PARAMETERS, NETWORK)
    facts = (VERSION, kernel_key(), *layers, *texts)
    key = hashlib.sha256("\0".join(facts).encode()).hexdigest()

    async def make(folder: Path) -> None:
        async with job.turn:
            await _fill(folder, layout, layers, job)

    cached_path, cached = await job.cache.obtain(
        job.name, LAYER, key, make, waiting=waiting_of(job), deadline=job.deadline
    )
    return BuiltImage(job.name, cached_path, key, "oci", cached, monotonic() - started)


async def _fill(folder: Path, layout: Layout, layers: Sequence[str], job: Build) -> None:
    opened = [_opener(layout, layer) for layer in layers]
    job.bus.emit(ImageStateChanged(job.name, state="building", provider="oci", key="", detail="its layers changed"))
    say_of(job)(f"{len(layers)} layers of {layout.path.name}", "layers")
    for layer in layers:
        await in_thread(partial(layout.verify, layer))
    overlay = await in_thread(lambda: overlay_of(opened))
    require_parts(overlay, layout.path)
    if not any(overlay.find(one) for one in AGENT):
        message = f"{layout.path.name} has no qemu-guest-agent: its machines are reached by SSH only (docs/images.md)"
        job.bus.emit(Note(job.name, level="info", message=message))
    size = -(-int(1.3 * overlay.size + ROOM) // 4096) * 4096
    require(job.cache.root, needed=2 * overlay.size)
    linux = await kernel(job)
    archive, tree = folder / "root.tar", folder / "tree"
    await in_thread(lambda: _write(archive, overlay, opened, linux / MODULES))
    tree.mkdir()
    rootless = os.geteuid() != 0

    async def step(argv: list[str]) -> None:
        argv = as_root(argv, rootless=rootless)
        await logged_step("file system", argv, log=folder / LOG, say=say_of(job), deadline=job.deadline, cwd=folder)

    await step(["tar", "-x", "-f", archive.name, "-C", tree.name, "--numeric-owner"])
    archive.unlink()
    await step(mke2fs_argv(Path(tree.name), Path("root.raw"), size))
    await step(["rm", "-rf", tree.name])
    for name in (VMLINUZ, INITRD):
        shutil.copyfile(linux / name, folder / name)
    init = () if overlay.find("/sbin/init") else (f"init={_first(overlay, NEEDED[0][0])}",)
    (folder / "kernel-params").write_text(kernel_params((*PARAMETERS, *init)))
    script = folder / "bin" / f"run-{job.name}-vm"
    script.parent.mkdir()
    script.write_text(run_script(job.name, memory=MEMORY, cpus=1))
    script.chmod(0o755)
    GuestFacts(foreign=True).write(folder)


def _opener(layout: Layout, digest: str) -> OpenBlob:
    def opened() -> AbstractContextManager[IO[bytes]]:
        return layout.blob(digest)

    return opened


def require_parts(overlay: Overlay, path: Path) -> None:
    """Raise one `ImageError` with all that a machine needs and the image lacks. Pure."""
    missing = [(what, package) for files, package, what in NEEDED if not _first(overlay, files)]
    if not missing:
        return
    agent = [] if any(overlay.find(one) for one in AGENT) else ["qemu-guest-agent"]
    packages = " ".join(dict.fromkeys([*(package for _, package in missing), *agent]))
    raise ImageError(
        f"the OCI image {path} cannot be a machine",
        why=f"it lacks {', '.join(what for what, _ in missing)}",
        hint=f"in its Containerfile: RUN apt-get update && apt-get install -y --no-install-recommends {packages}",
    )


def _first(overlay: Overlay, paths: Sequence[str]) -> str:
    return next((path for path in paths if overlay.find(path)), "")


def _write(archive: Path, overlay: Overlay, layers: Sequence[OpenBlob], modules: Path) -> None:
    """The whole system as one archive: what is left of the layers, the kernel's modules, and our network file."""
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as out:
        write_merged(overlay, layers, out)
        with tarfile.open(modules) as kernel_modules:
            for member in kernel_modules:
                place = overlay.place(member.name)
                content = kernel_modules.extractfile(member) if member.isfile() else None
                out.addfile(plain_member(member, place), content)
        if unit := _first(overlay, NETWORKD):
            _add(out, overlay, NETWORK_FILE, NETWORK)
            service = f"{unit.rpartition('/')[0]}/system/systemd-networkd.service"
            _link(out, overlay, "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service", service)


def _add(out: tarfile.TarFile, overlay: Overlay, path: str, text: str) -> None:
    member = tarfile.TarInfo(f"./{overlay.place(path)}")
    data = text.encode()
    member.size, member.mode = len(data), 0o644
    out.addfile(member, io.BytesIO(data))


def _link(out: tarfile.TarFile, overlay: Overlay, path: str, target: str) -> None:
    if overlay.find(path):
        return
    member = tarfile.TarInfo(f"./{overlay.place(path)}")
    member.type, member.linkname = tarfile.SYMTYPE, target
    out.addfile(member)
