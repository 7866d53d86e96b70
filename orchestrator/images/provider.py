"""Chooses the provider, and builds all images of a topology."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from types import TracebackType

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError, OrchestratorError
from orchestrator.events import EventBus
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import BuiltImage, find_run_script
from orchestrator.images.provider_kind import Build, ImageProvider
from orchestrator.tasks import run_all
from orchestrator.topology.image_source import IMAGE_SOURCES
from orchestrator.topology.model import Image, Topology

MIXED = "mixed"  # auto, where no provider has a source of every image: each image has its own
FALLBACK = "debian"  # what auto comes to where no provider can do everything; it needs no tool to say what is missing


def used_images(topology: Topology) -> dict[str, Image]:
    """The images that machines of the topology use, in the order of the machines."""
    return {machine.image: topology.images[machine.image] for machine in topology.machines.values()}


def choose_provider(wanted: str, topology: Topology, *, path: str | None = None) -> str:
    """The provider for every image of the topology.

    ``auto`` is the most preferred one of those whose tools this host has, and of which every image has a source that
    exists. If there are only sources that do not exist, the most preferred one. Where no provider has a source of every
    image, each image has the most preferred one of its own (`MIXED`); if there are none, Debian.

    Args:
        wanted: ``auto``, or a provider.
        path: searched instead of PATH.

    Raises:
        ImageError: an image has no source for the provider.
    """
    images = used_images(topology)
    if wanted == MIXED:
        return MIXED
    if wanted != "auto" and IMAGE_SOURCES.find(wanted) is None:
        raise ImageError(f"no such image provider: {wanted}", hint=", ".join(("auto", *IMAGE_SOURCES.every())))
    candidates = [kind for kind in _candidates(images) if kind.usable(path)] if wanted == "auto" else []
    for provider in candidates:
        sources = [provider_of(image, provider.kind) for image in images.values()]
        if all(source.exists(topology.root) for source in sources):
            return provider.kind
    if candidates:  # it says what it does not find
        return candidates[0].kind
    if wanted == "auto" and not _candidates(images) and all(_usable(image, path) for image in images.values()):
        return MIXED
    chosen = FALLBACK if wanted == "auto" else wanted
    without = [name for name, image in images.items() if chosen not in image.sources]
    if without:
        hint = "install Nix, or give these images a Debian recipe" if wanted == "auto" else "--images auto"
        raise ImageError(
            f"no {chosen} source for image {', '.join(without)}",
            where=[str(topology.path)],
            hint=hint,
        )
    return chosen


def _candidates(images: Mapping[str, Image]) -> list[type[ImageProvider]]:
    """The providers of which every image has a source, the most preferred one first."""
    common = {name for image in images.values() for name in image.sources}
    for image in images.values():
        common &= image.sources.keys()
    kinds = [type(provider_of(next(iter(images.values())), name)) for name in common]
    return sorted(kinds, key=lambda kind: (-kind.preference, kind.kind))


def _usable(image: Image, path: str | None) -> list[str]:
    """The providers of one image whose tools this host has, the most preferred one first."""
    kinds = [type(provider_of(image, name)) for name in image.sources]
    usable = [kind for kind in kinds if kind.usable(path)]
    return [kind.kind for kind in sorted(usable, key=lambda kind: (-kind.preference, kind.kind))]


def provider_of(image: Image, name: str) -> ImageProvider:
    """The source of an image for a provider, or for `MIXED`; there is one.

    Raises:
        ImageError: what a package calls a provider is none.
    """
    source = image.sources[_usable(image, None)[0] if name == MIXED else name]
    if not isinstance(source, ImageProvider):
        raise ImageError(
            f"{name} is no provider of images",
            why=f"{type(source).__name__} cannot build: it is no ImageProvider (orchestrator.images.provider_kind)",
            hint="update the package that adds it, or uninstall it",
        )
    return source


class Turn(asyncio.Lock):
    """One build at a time; after a failure no other begins."""

    def __init__(self) -> None:
        super().__init__()
        self._failed = False

    async def __aenter__(self) -> None:
        await super().__aenter__()
        if self._failed:
            self.release()
            await asyncio.Event().wait()  # the failure is being reported and will cancel this task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._failed = self._failed or kind is not None
        await super().__aexit__(kind, error, trace)


async def ensure_images(
    topology: Topology,
    *,
    provider: str,
    bus: EventBus,
    deadline: Deadline,
    cache: ImageCache | None = None,
) -> dict[str, BuiltImage]:
    """Every image the topology's machines use: looked up in parallel, built one after the other.

    The caller pins what it uses: ``ImageCache().pin(image.path, state_folder)``.

    Raises:
        ImageError: the first image that could not be made.
    """
    from orchestrator.events.machines import ImageStateChanged  # commands that only look load this module too

    chosen = choose_provider(provider, topology)
    cache = cache if cache is not None else ImageCache(None)
    used = used_images(topology)
    built: dict[str, BuiltImage] = {}
    turn = Turn()

    async def ensure(name: str) -> None:
        try:
            layers, units = topology.layers_of_image(name), topology.units_of_image(name)
            job = Build(name, topology.root, topology.variant, layers, units, cache, bus, deadline, turn)
            one = await provider_of(used[name], chosen).build(job)
            find_run_script(one.path, hint=f"it is damaged: rm -r {one.path}, then it is built again")
        except OrchestratorError as error:
            bus.emit(ImageStateChanged(name, state="failed", provider=chosen, key="", detail=error.what))
            raise
        bus.emit(
            ImageStateChanged(
                name,
                state="cached" if one.cached else "ready",
                provider=one.provider,
                key=one.key,
                seconds=one.seconds,
                path=os.fspath(one.path),
            )
        )
        built[name] = one

    await run_all(*(ensure(name) for name in used))
    return {name: built[name] for name in used}
