"""What a recipe puts over the base layer: its files, locked packages, units that the boot must not start."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.errors import ImageError
from orchestrator.images import python_packages
from orchestrator.images.cache import downloads_of
from orchestrator.images.job_events import say_of
from orchestrator.images.manifest import Kind, LayerEntry, load_manifest
from orchestrator.images.npm_packages import NpmPackage, own_registry, program_links, read_lock, unpacked
from orchestrator.images.provider_kind import Build
from orchestrator.images.recipe import Layer, LockedPackages, Recipe, digest
from orchestrator.images.recipe_layer import PackageTree, checked, file_entries, started_by_boot, writer
from orchestrator.images.runscript import kernel_params, run_script
from orchestrator.process import run_shown
from orchestrator.threads import in_thread

LAYER_VERSION = "2"  # raise it whenever other images are made of the same files

# Without these nobody gets into the machine: the boot starts them, whatever a topology says of them.
BOOT_NEEDS = frozenset(
    ["ssh.service", "ssh.socket", "qemu-guest-agent.service", "systemd-networkd.service", "dbus.service", "dbus.socket"]
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is written over the base layer.

    Attributes:
        entries: files, folders and links whose content is known.
        trees: folders of locked packages, which are there only when something is built.
        stopped: units that the boot must not start.
        texts: files beside the disk, by their path.
        npm: what is downloaded before the trees are there.
    """

    entries: tuple[LayerEntry, ...]
    trees: tuple[PackageTree, ...]
    stopped: tuple[str, ...]
    texts: Mapping[str, str]
    npm: tuple[NpmPackage, ...] = ()

    def key(self, base: str) -> str:
        """Changes with the finished image. ``base``: the key of the layer below."""
        return digest(
            {
                "version": LAYER_VERSION,
                "base": base,
                "entries": [entry.identity() for entry in self.entries],
                "trees": [[tree.target, tree.identity] for tree in self.trees],
                "stopped": self.stopped,
                "texts": dict(self.texts),
            }
        )

    def with_packages(self) -> tuple[LayerEntry, ...]:
        """All entries; the locked packages must have been fetched."""
        return checked([*self.entries, *(entry for tree in self.trees for entry in tree.entries())])


async def content_of(job: Build, recipe: Recipe, folder: Path) -> Content:
    """What a recipe puts over the base layer.

    Args:
        folder: where texts are written that come from no file of the host.

    Raises:
        ImageError: a template, a lock or the recipe's program is wrong.
    """
    entries = [*file_entries(recipe, writer(folder / "texts"))]
    npm = {
        name: read_lock(item.lock, only=item.only, architecture=recipe.architecture)
        for name, item in recipe.npm.items()
    }
    entries += _programs(recipe, npm)
    if recipe.layer is not None:
        entries += await _made_by_program(job, recipe.layer, folder / "layer")
    stopped = tuple(sorted(job.units - BOOT_NEEDS))
    links = frozenset(started_by_boot((entry.target for entry in entries), stopped))
    return Content(
        checked(entry for entry in entries if entry.target not in links),
        tuple(_trees(recipe, npm, downloads_of(job.cache))),
        stopped,
        {
            f"bin/run-{recipe.name}-vm": run_script(
                recipe.name, memory=recipe.memory, cpus=recipe.cpus, architecture=recipe.architecture
            ),
            "kernel-params": kernel_params(recipe.kernel_parameters),
        },
        tuple(package for packages in npm.values() for package in packages),
    )


def _trees(recipe: Recipe, npm: Mapping[str, list[NpmPackage]], downloads: Path) -> list[PackageTree]:
    """The locked packages, wherever their folders will be."""
    found = [
        PackageTree(downloads / package.folder_name, f"{recipe.npm[name].target}/{package.path}", package.folder_name)
        for name, packages in npm.items()
        for package in packages
    ]
    for item in recipe.python.values():
        source = python_folder(recipe, item, downloads)
        found.append(PackageTree(source, item.target, source.name))
    return found


def _programs(recipe: Recipe, npm: Mapping[str, list[NpmPackage]]) -> list[LayerEntry]:
    """The programs of npm packages, in ``node_modules/.bin``."""
    return [
        LayerEntry(Kind.SYMLINK, f"{recipe.npm[name].target}/{path}", 0o777, to=to)
        for name, packages in npm.items()
        for path, to in program_links(packages)
    ]


async def fetch(job: Build, recipe: Recipe, npm: Iterable[NpmPackage]) -> None:
    """Download what the locks pin and is not there yet.

    Raises:
        ImageError: something cannot be had, or is not what its lock says.
    """
    downloads, say = downloads_of(job.cache), say_of(job)
    missing = {one.folder_name: one for one in npm if not (downloads / one.folder_name).is_dir()}
    registry = own_registry() if missing else ""
    for package in missing.values():
        say(f"{package.path} {package.version}", "npm")
        await in_thread(partial(unpacked, package, downloads, registry))
    for item in recipe.python.values():
        await python_packages.install(
            item.lock,
            python_folder(recipe, item, downloads),
            python=_python(recipe, item),
            architecture=recipe.architecture,
            deadline=job.deadline,
        )


def python_folder(recipe: Recipe, item: LockedPackages, downloads: Path) -> Path:
    """Where the host has the Python packages of a lock."""
    return python_packages.folder_of(
        item.lock, downloads, python=_python(recipe, item), architecture=recipe.architecture
    )


def _python(recipe: Recipe, item: LockedPackages) -> str:
    if item.python:
        return item.python
    if (found := python_packages.PYTHONS.get(recipe.suite)) is None:
        raise ImageError(
            f"the Python of {recipe.suite} is not known", where=[str(item.place)], hint='say it: python = "3.13"'
        )
    return found


async def _made_by_program(job: Build, layer: Layer, folder: Path) -> tuple[LayerEntry, ...]:
    """What the program of the recipe makes."""
    folder.mkdir()
    argv = [sys.executable, str(layer.program), *layer.arguments, "--variant", job.variant, "--out", str(folder)]
    say = say_of(job)
    done = await run_shown(argv, lambda line: say(line, "render"), deadline=job.deadline)
    if done.code != 0:
        raise ImageError(
            f"the files of image {job.name} could not be rendered",
            evidence=done.stderr.strip().splitlines()[-25:],
            where=[str(layer.program)],
        )
    return load_manifest(folder)
