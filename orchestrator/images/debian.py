"""The Debian provider: an image from a recipe, in two cached layers.

The base layer (packages, a minute or two) is keyed by the recipe; the application
layer is a copy of it with the rendered files written by debugfs, in seconds and
without root, keyed by their content. The finished folder holds ``bin/run-<name>-vm``,
``root.raw``, ``vmlinuz``, ``initrd.img`` and ``kernel-params``, and needs nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Coroutine
from pathlib import Path

from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import HostError, ImageError, TimeLimit
from orchestrator.events import EventBus
from orchestrator.events.machines import ImageOutput, ImageStateChanged
from orchestrator.events.services import Heartbeat
from orchestrator.images.cache import ImageCache
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
from orchestrator.images.debian_host import require, search_path
from orchestrator.images.manifest import (
    SOURCES,
    BaseTree,
    LayerEntry,
    debugfs_errors,
    debugfs_script,
    layer_key,
    link_sources,
    load_manifest,
)
from orchestrator.images.recipe import Recipe, load_recipe
from orchestrator.images.runscript import kernel_params, run_script
from orchestrator.process import run_shown
from orchestrator.scratch import scratch

LAYER_VERSION = "1"  # raise it whenever this file makes other images of the same files
HEARTBEAT = 5.0  # seconds between two reports while another command builds
BASE_SPACE = 3  # a build needs about this many times the content: tar, tree, file system

BASE_LAYER, APP_LAYER = "base", "app"


async def build_debian(
    name: str,
    recipe_path: Path,
    *,
    variant: str,
    cache: ImageCache,
    bus: EventBus,
    deadline: Deadline,
    turn: asyncio.Lock | None = None,
) -> BuiltImage:
    """The image of a recipe, from the cache or built.

    Args:
        name: of the image in the topology.
        turn: a lock that is held while something is built; two builds at once are slower than one after the other.

    Raises:
        ImageError: the host lacks something, the recipe is wrong, or a step failed (with its last lines).
    """
    started = monotonic()
    recipe = load_recipe(recipe_path)
    builder = _Builder(name, recipe, cache, bus, deadline)
    base_key = recipe.base_key(BUILDER)
    with scratch("layer") as rendered:
        entries = await builder.render(rendered, variant)
        texts = {
            f"bin/run-{recipe.name}-vm": run_script(recipe.name, memory=recipe.memory, cpus=recipe.cpus),
            "kernel-params": kernel_params(recipe.kernel_parameters),
        }
        key = layer_key(base_key, entries, {"version": LAYER_VERSION, **texts})

        async def build(folder: Path) -> None:
            async with turn or asyncio.Lock():
                base = await builder.base(base_key)
                await builder.app_layer(folder, base, entries, texts)

        path, cached = await cache.obtain(name, APP_LAYER, key, build, waiting=builder.waiting, deadline=deadline)
    return BuiltImage(name, path, key, "debian", cached, monotonic() - started)


class _Builder:
    """The steps of one image, their shared data and events."""

    def __init__(self, name: str, recipe: Recipe, cache: ImageCache, bus: EventBus, deadline: Deadline) -> None:
        self._name = name
        self._recipe = recipe
        self._cache = cache
        self._bus = bus
        self._deadline = deadline
        self._said_waiting = float("-inf")

    def say(self, line: str, step: str) -> None:
        self._bus.emit(ImageOutput(self._name, line=line, step=step))

    def waiting(self, holder: str, elapsed: float) -> None:
        if elapsed - self._said_waiting >= HEARTBEAT:
            self._said_waiting = elapsed
            self._bus.emit(
                Heartbeat(
                    self._name,
                    what=f"image {self._name}, which another command builds",
                    elapsed=elapsed,
                    timeout=self._deadline.timeout,
                    detail=holder,
                )
            )

    async def render(self, folder: Path, variant: str) -> tuple[LayerEntry, ...]:
        """What the layer program says, or nothing without one."""
        layer = self._recipe.layer
        if layer is None:
            return ()
        argv = [
            sys.executable,
            str(layer.program),
            *layer.arguments,
            "--variant",
            variant,
            "--out",
            str(folder),
        ]
        done = await run_shown(argv, lambda line: self.say(line, "render"), deadline=self._deadline)
        if done.code != 0:
            raise ImageError(
                f"the files of image {self._name} could not be rendered",
                evidence=done.stderr.strip().splitlines()[-25:],
                where=[str(layer.program)],
            )
        return load_manifest(folder)

    async def base(self, key: str) -> Path:
        """The base layer, from the cache or built."""
        needed = min(self._recipe.size, 1 << 30) * BASE_SPACE

        async def build(folder: Path) -> None:
            require(self._cache.root, needed=needed)
            self._building(key, "its packages or their configuration changed")
            await self._keeping_log(
                folder, BASE_LAYER, build_base(folder, self._recipe, say=self.say, deadline=self._deadline)
            )

        path, _ = await self._cache.obtain(
            self._recipe.name, BASE_LAYER, key, build, waiting=self.waiting, deadline=self._deadline
        )
        return path

    async def app_layer(self, folder: Path, base: Path, entries: tuple[LayerEntry, ...], texts: dict[str, str]) -> None:
        """Fill ``folder`` with the finished image."""
        self._building(base.name, "its files changed")
        await self._keeping_log(folder, APP_LAYER, self._write_app_layer(folder, base, entries, texts))

    async def _write_app_layer(
        self, folder: Path, base: Path, entries: tuple[LayerEntry, ...], texts: dict[str, str]
    ) -> None:
        disk, script = folder / "root.raw", folder / "layer.debugfs"
        script.write_text(debugfs_script(entries, BaseTree.from_json((base / TREE).read_text())))
        self.say(f"{len(entries)} files, links and folders over {base.name}", "application")
        await self._step(folder, ["cp", "--sparse=always", "--reflink=auto", str(base / BASE_RAW), str(disk)])
        link_sources(entries, folder)
        # Relative names all along: in an absolute one, a question mark would begin options of the file system.
        with (folder / LOG).open("a", encoding="utf-8") as log:
            done = await run_shown(
                ["debugfs", "-w", "-f", script.name, disk.name],
                lambda line: log.write(f"{line}\n"),
                deadline=self._deadline,
                cwd=folder,
                env={**os.environ, "PATH": search_path()},
            )
        errors = debugfs_errors(done.stderr)
        if errors or done.code != 0:
            raise ImageError("debugfs could not write the application layer", evidence=errors[:25] or [str(done.code)])
        shutil.rmtree(folder / SOURCES)
        await self._step(folder, ["e2fsck", "-f", "-n", disk.name])
        for name in (VMLINUZ, INITRD):
            _link(base / name, folder / name)
        for name, text in texts.items():
            target = folder / name
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
            target.chmod(0o755 if name.startswith("bin/") else 0o644)

    async def _step(self, folder: Path, argv: list[str]) -> None:
        await logged_step("application", argv, log=folder / LOG, say=self.say, deadline=self._deadline, cwd=folder)

    async def _keeping_log(self, folder: Path, layer: str, work: Coroutine[object, object, None]) -> None:
        """Await the work; when it fails, save the build log, since the folder goes away."""
        try:
            await work
        except TimeLimit as error:
            kept = keep_log(folder / LOG, self._cache.root / "logs" / f"{self._name}-{layer}.log")
            raise TimeLimit(
                f"image {self._name} was not built within {self._deadline}",
                why=f"its {layer} layer was being made",
                where=[str(kept)] if kept else [],
                hint=LONGER,
            ) from error
        except (ImageError, HostError) as error:
            kept = keep_log(folder / LOG, self._cache.root / "logs" / f"{self._name}-{layer}.log")
            where = [*error.where, *([str(kept)] if kept else [])]
            raise ImageError(
                f"image {self._name}: {error.what}",
                why=error.why,
                where=where,
                hint=error.hint,
                evidence=error.evidence,
            ) from error

    def _building(self, key: str, why: str) -> None:
        self._bus.emit(ImageStateChanged(self._name, state="building", provider="debian", key=key, detail=why))


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
