"""Reads the output of Nix: warnings, the derivation that failed, what to do about it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

TAIL = 30  # lines of the output an error carries
_WARNING = re.compile(r"(?:^|\s)(?:evaluation )?warning:", re.IGNORECASE)
# Nix up to 2.29, and since.
_FAILED = re.compile(r"(?:builder for|Cannot build) '(/nix/store/[^']+\.drv)'")
# Nix has one warning of each run about what it was started in; it says nothing about the image.
_UNINTERESTING = re.compile(r"Git tree '.*' is dirty")

# Part of a build's output → what to do about it. Nix's own words, of which versions differ.
HINTS = (
    ("does not provide attribute", "check the name after # in nixos_flake against `nix flake show`"),
    ("is not tracked by Git", "git add the file: a flake sees only files that Git knows"),
    ("experimental Nix feature", "add `experimental-features = nix-command flakes` to nix.conf"),
    ("experimental feature", "add `experimental-features = nix-command flakes` to nix.conf"),
    ("cannot connect to socket", "start the Nix daemon: systemctl start nix-daemon"),
    ("cannot connect to daemon", "start the Nix daemon: systemctl start nix-daemon"),
    ("file 'nixpkgs/nixos' was not found", "set NIX_PATH, e.g. nixpkgs=channel:nixos-unstable"),
    ("No space left on device", "nix-collect-garbage frees space in the store"),
    ("unable to download", "the build needs its binary cache: check the network"),
)


class Output:
    """The parts of one build's output that are needed afterwards.

    Attributes:
        tail: its last lines.
        built: Nix had to build something.
        failed: the first derivation whose builder failed, or nothing.
    """

    def __init__(self) -> None:
        self.tail: list[str] = []
        self.built = False
        self.failed = ""
        self._warned: set[str] = set()

    def add(self, line: str) -> bool:
        """Take a line; whether it is a new warning."""
        self.tail.append(line)
        del self.tail[:-TAIL]
        self.built = self.built or line.startswith("building '/nix/store/")
        if not self.failed and (found := _FAILED.search(line)):
            self.failed = found[1]
        if not _WARNING.search(line) or _UNINTERESTING.search(line) or line in self._warned:
            return False
        self._warned.add(line)
        return True

    @property
    def hint(self) -> str:
        """What to do about a failed build, as far as the output shows."""
        return hint_for(self.tail, self.failed)


def hint_for(lines: Sequence[str], failed: str = "") -> str:
    """What to do about a failed build.

    Args:
        failed: the derivation whose builder failed; its log says more than Nix repeats.
    """
    text = "\n".join(lines)
    known = next((hint for pattern, hint in HINTS if pattern in text), "")
    return known or (f"nix log {failed}" if failed else "read the log; `--show-trace` shows more")
