"""What a folder with a Playwright suite contains, found without running it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIGURATIONS = tuple(f"playwright.config.{end}" for end in ("ts", "js", "mts", "mjs", "cts", "cjs"))
SPEC = re.compile(r".+\.(spec|test)\.[cm]?[jt]sx?")  # Playwright's own default for testMatch
RUNNER = "@playwright/test"
FACTOR = "E2E_TIME_FACTOR"
SOURCE = re.compile(r".+\.[cm]?[jt]sx?")
UNSEARCHED = frozenset({"node_modules", ".git", "test-results", "playwright-report"})
PROVIDED = frozenset({RUNNER, "playwright", "playwright-core"})  # by the client's image


@dataclass(frozen=True, slots=True)
class SuiteFolder:
    """What was found.

    Attributes:
        configuration: the name of its Playwright configuration, empty without one.
        specs: how many files look like tests.
        runner: the version of a Playwright it brings, empty where the image's is used.
        wanted: the range of versions its package.json asks for, empty where it asks for none.
        heeds_factor: whether it scales its limits by E2E_TIME_FACTOR itself: some file of it names the variable.
        missing: packages its package.json names that are neither in node_modules nor in the image.
    """

    path: Path
    configuration: str = ""
    specs: int = 0
    runner: str = ""
    wanted: str = ""
    heeds_factor: bool = False
    missing: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        return {
            "path": str(self.path),
            "configuration": self.configuration or None,
            "spec_files": self.specs,
            "playwright": self.runner or None,
            "playwright_wanted": self.wanted or None,
            "missing_packages": list(self.missing),
        }

    def describe(self) -> str:
        """One line for people."""
        runner = f"brings Playwright {self.runner}" if self.runner else "runs with the image's Playwright"
        if not self.runner and self.wanted:
            runner += f" (package.json asks for {self.wanted})"
        files = f"{self.specs} spec file{'' if self.specs == 1 else 's'}"
        return f"suite {self.path}: {self.configuration or 'no Playwright configuration'}, {files}, {runner}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may keep it from running."""
        found = []
        if not self.specs:
            found.append(f"suite {self.path} has no file like *.spec.ts or *.test.ts")
        if self.missing:
            names = ", ".join(self.missing)
            found.append(f"suite {self.path} needs {names}, which node_modules lacks; run npm ci there")
        return tuple(found)


def look_at(path: Path) -> SuiteFolder:
    """What the folder holds; a folder that cannot be read holds nothing."""
    manifest = _json(path / "package.json")
    needed = {
        name: str(wanted)
        for table in ("dependencies", "devDependencies")
        for name, wanted in _table(manifest.get(table)).items()
    }
    modules, files = path / "node_modules", list(_files(path))
    missing = tuple(
        name
        for name in needed
        if name not in PROVIDED and not name.startswith("@types/") and not (modules / name).is_dir()
    )
    return SuiteFolder(
        path=path,
        configuration=next((name for name in CONFIGURATIONS if (path / name).is_file()), ""),
        specs=sum(bool(SPEC.fullmatch(file.name)) for file in files),
        runner=str(_json(modules / RUNNER / "package.json").get("version", "")),
        wanted=needed.get(RUNNER, ""),
        heeds_factor=any(FACTOR in _text(file) for file in files if SOURCE.fullmatch(file.name)),
        missing=missing,
    )


def allows(wanted: str, version: str) -> bool:
    """Whether a range of package.json allows a version; what npm alone understands (a tag) allows all. Pure.

    >>> allows("^1.40", "1.65.1"), allows("~1.40.0", "1.65.1"), allows("latest", "1.65.1")
    (True, False, True)
    """
    from semantic_version import NpmSpec, Version  # type: ignore[import-untyped]  # needed by few commands

    try:
        return bool(NpmSpec(wanted).match(Version.coerce(version)))
    except ValueError:
        return True


def is_empty(path: Path) -> bool:
    """Whether a folder is empty."""
    return next(path.iterdir(), None) is None


def _files(path: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(path):
        folders[:] = [name for name in folders if name not in UNSEARCHED]
        yield from (Path(base) / name for name in files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> Mapping[str, object]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return _table(data)


def _table(data: object) -> Mapping[str, object]:
    return data if isinstance(data, dict) else {}
