"""What an image is to the rest of the program: a folder with ``bin/run-<name>-vm``.

`nixos-rebuild build-vm` makes such a script; the Debian provider writes one with
the same behaviour, so there is a single way to start a machine.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.errors import ImageError

GUEST_FILE = "guest.json"  # in an image's folder, where its guest is not as usual
LONGER = "a longer limit: --wait-timeout of up, --timeout of run and of images build"  # for a build that ran into it


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """What the program must know of an image's guest before it starts one.

    Attributes:
        foreign: it was not made for us: it is told its keys and addresses by a seed, and may lack a guest agent.
    """

    foreign: bool = False

    def write(self, folder: Path) -> None:
        """Put them into an image's folder."""
        (folder / GUEST_FILE).write_text(json.dumps(asdict(self)) + "\n")


def guest_facts(path: Path) -> GuestFacts:
    """The facts of an image's folder; those of an image of ours where it says nothing.

    Raises:
        ImageError: the file is damaged.
    """
    try:
        return GuestFacts(**json.loads((path / GUEST_FILE).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return GuestFacts()
    except (OSError, ValueError, TypeError) as error:
        raise ImageError(
            f"{path / GUEST_FILE} cannot be read", why=str(error), hint=f"rm -r {path}, then it is built again"
        ) from error


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
