"""What an image is to the rest of the program: a folder with ``bin/run-<name>-vm``.

`nixos-rebuild build-vm` makes such a script; the Debian provider writes one with
the same behaviour, so there is a single way to start a machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ImageError

LONGER = "a longer limit: --wait-timeout of up, --timeout of run and of images build"  # for a build that ran into it


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
