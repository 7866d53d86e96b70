"""Merge pip's installation reports into one lock file.

    merge_reports.py TITLE REPORT.json…  > requirements.lock

Each report comes from ``pip install --dry-run --report`` for another version of
Python. A package must have the same version in all of them; its file may differ
(wheels of C extensions), so every hash is listed.
Exit codes: 0 done, 1 the versions disagree, 2 wrong call.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]


def merge(reports: Iterable[Report]) -> dict[str, tuple[str, list[str]]]:
    """Name → (version, sorted SHA-256 digests), in the order of names.

    Raises:
        ValueError: a package has two versions.
    """
    versions: dict[str, str] = {}
    digests: dict[str, set[str]] = {}
    for report in reports:
        for entry in report["install"]:
            name = re.sub(r"[-_.]+", "-", entry["metadata"]["name"]).lower()
            version = entry["metadata"]["version"]
            if versions.setdefault(name, version) != version:
                raise ValueError(f"{name} is {versions[name]} for one Python and {version} for another; narrow it")
            digests.setdefault(name, set()).add(entry["download_info"]["archive_info"]["hashes"]["sha256"])
    return {name: (versions[name], sorted(digests[name])) for name in sorted(versions)}


def render(title: str, packages: Mapping[str, tuple[str, list[str]]]) -> str:
    """The text of the lock file."""
    lines = [f"# {title}", "# Made by scripts/lock from pyproject.toml; do not edit."]
    for name, (version, hashes) in packages.items():
        lines.append(" \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in hashes)]))
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        sys.stderr.write("usage: merge_reports.py TITLE REPORT.json…\n")
        return 2
    title, *files = arguments
    try:
        packages = merge(json.loads(Path(file).read_text(encoding="utf-8")) for file in files)
    except ValueError as error:
        sys.stderr.write(f"merge_reports.py: {error}\n")
        return 1
    sys.stdout.write(render(title, packages))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
