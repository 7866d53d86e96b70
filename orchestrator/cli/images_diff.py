"""``orchestrator images diff``: packages that two images do not share."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from orchestrator.cli.runtime import say
from orchestrator.errors import UsageError
from orchestrator.images.cache import ImageCache
from orchestrator.images.installed import PackageChange, installed_packages, package_changes


def run(arguments: argparse.Namespace) -> int:
    if len(arguments.words) != 2:
        raise UsageError(
            "images diff needs two images", hint="orchestrator images diff KEY KEY; `images list` shows keys"
        )
    before, after = (_folder(word) for word in arguments.words)
    found = asyncio.run(_changes(before, after))
    if arguments.json:
        data = [{**asdict(one), "kind": one.kind} for one in found]
        sys.stdout.write(json.dumps({"before": str(before), "after": str(after), "packages": data}, indent=2) + "\n")
        return 0
    for one in found:
        versions = " → ".join(version for version in (one.before, one.after) if version)
        sys.stdout.write(f"{one.kind}\t{one.name}\t{versions}\n")
    if not arguments.quiet:
        counts = {kind: sum(one.kind == kind for one in found) for kind in ("added", "removed", "changed")}
        say(", ".join(f"{count} {kind}" for kind, count in counts.items()) if found else "they have the same packages")
    return 0


async def _changes(before: Path, after: Path) -> list[PackageChange]:
    return package_changes(await installed_packages(before), await installed_packages(after))


def _folder(word: str) -> Path:
    """The image that is meant: by the beginning of its key, by its folder's name, or a folder."""
    if Path(word).is_dir():
        return Path(word)
    entries = ImageCache().list_images()
    found = [one for one in entries if one.key.startswith(word) or one.path.name == word]
    if len(found) != 1:
        shown = [f"{one.name} {one.layer} {one.key[:16]}" for one in (found or entries)[:20]]
        raise UsageError(
            f"{'several images are' if found else 'no image is'} named {word!r}",
            evidence=shown,
            hint="orchestrator images list",
        )
    return found[0].path
