"""The UEFI firmware of this host, found by the descriptions that QEMU's packages install (docs/interop/firmware.json).

Code and an empty variable store are put together as one read-only file for `-bios`: variables live in the guest's
memory then, and there is no second file that a saved state would need. A disk is found by the path that removable media
have (``EFI/BOOT``), as cloud images are made for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import ImageError

DESCRIPTIONS: Final = ("/usr/share/qemu/firmware", "/etc/qemu/firmware")  # of two with one name, the later one counts
PACKAGES: Final = {"x86_64": "ovmf", "aarch64": "qemu-efi-aarch64"}
SECURE: Final = frozenset({"requires-smm", "secure-boot", "enrolled-keys"})


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware that needs no more than these files.

    Attributes:
        variables: the empty store of variables, in front of the code; None where the code is enough.
    """

    code: Path
    variables: Path | None = None

    def content(self) -> bytes:
        """What `-bios` takes. Raises `OSError`."""
        store = b"" if self.variables is None else self.variables.read_bytes()
        return store + self.code.read_bytes()


def find_firmware(architecture: str, folders: Iterable[str] = DESCRIPTIONS) -> Firmware:
    """The first UEFI firmware without Secure Boot.

    Args:
        architecture: as QEMU calls it (``x86_64``).

    Raises:
        ImageError: this host has none.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        files |= {file.name: file for file in Path(folder).glob("*.json")}
    for _, file in sorted(files.items()):
        try:
            found = firmware_in(json.loads(file.read_text()), architecture)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # a description of something else
        if found is not None and found.code.is_file():
            return found
    package = PACKAGES.get(architecture, "")
    raise ImageError(
        f"this host has no UEFI firmware for {architecture}",
        why=f"no description in {' and '.join(folders)} names one without Secure Boot",
        hint=f"apt install {package}" if package else "install the UEFI firmware for QEMU",
    )


def firmware_in(description: Mapping[str, Any], architecture: str) -> Firmware | None:
    """What a description says, if it is of a firmware that we can use. Pure."""
    targets = {one["architecture"] for one in description["targets"]}
    if "uefi" not in description["interface-types"] or architecture not in targets:
        return None
    if SECURE & set(description["features"]):
        return None
    mapping = description["mapping"]
    if mapping["device"] == "memory":
        return Firmware(Path(mapping["filename"]))
    if mapping["device"] != "flash":
        return None
    # The two flash devices of the virt machine of ARM are of a fixed size each; `-bios` is the first.
    variables = None if architecture == "aarch64" else Path(mapping["nvram-template"]["filename"])
    return Firmware(Path(mapping["executable"]["filename"]), variables)
