"""What an image is to the rest of the program: a folder with ``bin/run-<name>-vm``.

`nixos-rebuild build-vm` makes such a script; the Debian provider writes one with
the same behaviour, so there is a single way to start a machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ImageError

# Variables of the run script that we set. QEMU_OPTS is not among them: the script splits it on blanks, so our
# QEMU arguments are given as arguments of the script.
NIX_DISK_IMAGE = "NIX_DISK_IMAGE"  # the qcow2 overlay; made by the script when it is absent
USE_TMPDIR = "USE_TMPDIR"  # "1": work in TMPDIR instead of a new folder nobody removes
TMPDIR = "TMPDIR"
QEMU_NET_OPTS = "QEMU_NET_OPTS"  # appended to `-netdev user,id=user.0,`
QEMU_KERNEL_PARAMS = "QEMU_KERNEL_PARAMS"  # appended to the kernel's command line
NIXPKGS_QEMU_KERNEL_PREFIX = "NIXPKGS_QEMU_KERNEL_"  # + name: another kernel; never set by us, removed if inherited

LONGER = "a longer limit: --wait-timeout of up, --timeout of run and of images build"  # for a build that ran into it

INHERITED_TO_DROP = ("QEMU_OPTS", "SHARED_DIR", "NIX_EFI_VARS", "NIX_SWTPM_DIR")


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is ready to be started.

    Attributes:
        name: of the image in the topology.
        path: the folder with ``bin/run-*-vm``.
        key: changes whenever the content does.
        provider: ``debian`` or ``nixos``.
        cached: whether nothing had to be built.
        seconds: how long it took to get it.
    """

    name: str
    path: Path
    key: str
    provider: str
    cached: bool
    seconds: float

    @property
    def run_script(self) -> Path:
        """The script that starts a machine of it.

        Raises:
            ImageError: there is none, or more than one.
        """
        return find_run_script(self.path)

    @property
    def script_text(self) -> str:
        """The text of that script."""
        return self.run_script.read_text(errors="replace")


def find_run_script(path: Path, hint: str = "orchestrator images build") -> Path:
    """The one ``bin/run-*-vm`` of an image folder.

    Args:
        hint: what to do about a folder that is not an image.

    Raises:
        ImageError: no folder, no script, several scripts, or one that cannot be executed.
    """
    folder = path / "bin"
    if not folder.is_dir():
        raise ImageError(
            f"{path} is not a machine image",
            why="it has no folder bin/ with a run-<name>-vm script",
            hint=hint,
        )
    scripts = sorted(folder.glob("run-*-vm"))
    if not scripts:
        names = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise ImageError(
            f"no run-<name>-vm in {folder}",
            why=f"the folder holds {names}; an image built by `nixos-rebuild build-vm` has exactly one such script",
            hint=hint,
        )
    if len(scripts) > 1:
        raise ImageError(
            f"{len(scripts)} run scripts in {folder}, expected one",
            why=", ".join(script.name for script in scripts),
        )
    if not os.access(scripts[0], os.X_OK):
        raise ImageError(f"{scripts[0]} cannot be executed", hint=hint)
    return scripts[0]
