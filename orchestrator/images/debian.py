"""The Debian provider: an image from a recipe, in two cached layers.

The base layer (packages, a minute or two) is keyed by the recipe; the layer of files is a copy of it with the
files written by debugfs, in seconds and without root, keyed by their content. The finished folder holds
``bin/run-<name>-vm``, ``root.raw``, ``vmlinuz``, ``initrd.img`` and ``kernel-params``, and needs nothing else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Coroutine
from pathlib import Path

from orchestrator.deadline import monotonic
from orchestrator.errors import HostError, ImageError, RecipeError, TimeLimit
from orchestrator.events.machines import ImageStateChanged
from orchestrator.images.contract import LONGER, BuiltImage
from orchestrator.images.debian_base import (
    BASE_RAW,
    BUILDER,
    INITRD,
    LOG,
    TREE,
    VMLINUZ,
    build_base,
    logged_step,
)
from orchestrator.images.debian_content import Content, content_of, fetch
from orchestrator.images.debian_host import require, search_path
from orchestrator.images.job_events import say_of, waiting_of
from orchestrator.images.known_keys import FilesRead, know
from orchestrator.images.manifest import (
    SOURCES,
    BaseTree,
    base_tree_without,
    debugfs_errors,
    debugfs_script,
    link_sources,
    word,
)
from orchestrator.images.provider_kind import Build
from orchestrator.images.providers.debian import APP_LAYER
from orchestrator.images.recipe import Recipe
from orchestrator.images.recipe_base import base_key, place_of_target
from orchestrator.images.recipe_layer import started_by_boot
from orchestrator.images.recipe_load import load_recipe
from orchestrator.images.unit_check import unit_problems
from orchestrator.process import run_shown
from orchestrator.scratch import scratch

BASE_SPACE = 3  # a build needs about this many times the content: tar, tree, file system

BASE_LAYER = "base"


async def build_debian(job: Build, recipe_path: Path) -> BuiltImage:
    """The image of a recipe, from the cache or built.

    Raises:
        ImageError: the host lacks something, the recipe is wrong, or a step failed (with its last lines).
    """
    started = monotonic()
    opened = FilesRead()
    with scratch("layer") as rendered:
        with opened.recorded():
            recipe = load_recipe(recipe_path, variant=job.variant)
            base = base_key(recipe, BUILDER)
            content = await content_of(job, recipe, rendered)
            key = content.key(base)
        builder = _Builder(job, recipe)

        async def build(folder: Path) -> None:
            async with job.turn:
                base_folder = await builder.base(base)
                await builder.files(folder, base_folder, content)

        path, cached = await job.cache.obtain(
            job.name, APP_LAYER, key, build, waiting=builder.waiting, deadline=job.deadline
        )
        know(job, recipe_path, key, opened, rendered)
    return BuiltImage(job.name, path, key, "debian", cached, monotonic() - started)


class _Builder:
    """The steps of one image."""

    def __init__(self, job: Build, recipe: Recipe) -> None:
        self._job = job
        self._recipe = recipe
        self._say = say_of(job)
        self.waiting = waiting_of(job)

    async def base(self, key: str) -> Path:
        """The base layer, from the cache or built."""
        needed = min(self._recipe.size, 1 << 30) * BASE_SPACE
        job = self._job

        async def build(folder: Path) -> None:
            require(job.cache.root, needed=needed)
            self._building(key, "its packages or their configuration changed")
            await self._keeping_log(
                folder, BASE_LAYER, build_base(folder, self._recipe, say=self._say, deadline=job.deadline)
            )

        path, _ = await job.cache.obtain(
            self._recipe.name, BASE_LAYER, key, build, waiting=self.waiting, deadline=job.deadline
        )
        return path

    async def files(self, folder: Path, base: Path, content: Content) -> None:
        """Fill ``folder`` with the finished image."""
        self._building(base.name, "its files changed")
        await self._keeping_log(folder, APP_LAYER, self._write_files(folder, base, content))

    async def _write_files(self, folder: Path, base: Path, content: Content) -> None:
        await fetch(self._job, self._recipe, content.npm)
        entries = content.with_packages()
        disk, script = folder / "root.raw", folder / "layer.debugfs"
        tree = BaseTree.from_json((base / TREE).read_text())
        away = started_by_boot(tree.paths, content.stopped)
        problems: list[str] = []
        commands = debugfs_script(entries, base_tree_without(tree, away), problems)
        problems = [f"{place_of_target(self._recipe, line)}: {line}" for line in problems]
        problems += await unit_problems(self._recipe, entries, base, deadline=self._job.deadline)
        if problems:
            raise RecipeError("the recipe does not fit what it installs", evidence=problems)
        script.write_text("".join(f"rm {word(path)}\n" for path in away) + commands)
        self._say(f"{len(entries)} files, links and folders over {base.name}", "files")
        await self._step(folder, ["cp", "--sparse=always", "--reflink=auto", str(base / BASE_RAW), str(disk)])
        link_sources(entries, folder)
        # Relative names all along: in an absolute one, a question mark would begin options of the file system.
        with (folder / LOG).open("a", encoding="utf-8") as log:
            done = await run_shown(
                ["debugfs", "-w", "-f", script.name, disk.name],
                lambda line: log.write(f"{line}\n"),
                deadline=self._job.deadline,
                cwd=folder,
                env={**os.environ, "PATH": search_path()},
            )
        errors = debugfs_errors(done.stderr)
        if errors or done.code != 0:
            raise ImageError("debugfs could not write the files", evidence=errors[:25] or [str(done.code)])
        shutil.rmtree(folder / SOURCES)
        await self._step(folder, ["e2fsck", "-f", "-n", disk.name])
        for name in (VMLINUZ, INITRD):
            _link(base / name, folder / name)
        for name, text in content.texts.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
            target.chmod(0o755 if name.startswith("bin/") else 0o644)

    async def _step(self, folder: Path, argv: list[str]) -> None:
        await logged_step("files", argv, log=folder / LOG, say=self._say, deadline=self._job.deadline, cwd=folder)

    async def _keeping_log(self, folder: Path, layer: str, work: Coroutine[object, object, None]) -> None:
        """Await the work; when it fails, save the build log, since the folder goes away."""
        name, root = self._job.name, self._job.cache.root
        try:
            await work
        except TimeLimit as error:
            kept = keep_log(folder / LOG, root / "logs" / f"{name}-{layer}.log")
            raise TimeLimit(
                f"image {name} was not built within {self._job.deadline}",
                why=f"its {layer} layer was being made",
                where=[str(kept)] if kept else [],
                hint=LONGER,
            ) from error
        except (ImageError, HostError) as error:
            kept = keep_log(folder / LOG, root / "logs" / f"{name}-{layer}.log")
            where = [*error.where, *([str(kept)] if kept else [])]
            kind = RecipeError if isinstance(error, RecipeError) else ImageError
            raise kind(
                f"image {name}: {error.what}",
                why=error.why,
                where=where,
                hint=error.hint,
                evidence=error.evidence,
            ) from error

    def _building(self, key: str, why: str) -> None:
        self._job.bus.emit(ImageStateChanged(self._job.name, state="building", provider="debian", key=key, detail=why))


def keep_log(log: Path, target: Path) -> Path | None:
    """Move a build log to where it survives; None when there is none."""
    if not log.exists():
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(log, target)
    return target


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
