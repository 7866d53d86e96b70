"""Chooses the provider, and builds all images of a topology."""

from __future__ import annotations

import asyncio
import os
import shutil
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError, OrchestratorError
from orchestrator.events import EventBus
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import BuiltImage, find_run_script
from orchestrator.tasks import run_all
from orchestrator.topology.model import Image, Topology


class Provider(StrEnum):
    DEBIAN = "debian"
    NIXOS = "nixos"


def used_images(topology: Topology) -> dict[str, Image]:
    """The images that machines of the topology use, in the order of the machines."""
    return {machine.image: topology.images[machine.image] for machine in topology.machines.values()}


def choose_provider(wanted: str, topology: Topology, *, path: str | None = None) -> Provider:
    """The provider for every image of the topology.

    ``auto`` is NixOS when nixos-rebuild or nix is on PATH and every image has a NixOS
    source that exists, else Debian.

    Args:
        wanted: ``auto``, ``nixos`` or ``debian``.
        path: searched instead of PATH.

    Raises:
        ImageError: an image has no source for the provider.
    """
    images = used_images(topology)
    without: dict[Provider, list[str]] = {
        Provider.DEBIAN: [name for name, image in images.items() if image.debian is None],
        Provider.NIXOS: [
            name for name, image in images.items() if image.nixos_flake is None and image.nixos_config is None
        ],
    }
    has_nix = any(shutil.which(tool, path=path) for tool in ("nixos-rebuild", "nix", "nix-build"))
    if wanted == "auto":
        nixos = has_nix and all(_nixos_source_exists(image, topology.root) for image in images.values())
        provider = Provider.NIXOS if nixos else Provider.DEBIAN
    else:
        try:
            provider = Provider(wanted)
        except ValueError as error:
            raise ImageError(f"no such image provider: {wanted}", hint="auto, nixos or debian") from error
    if without[provider]:
        hint = "install Nix, or give these images a Debian recipe" if wanted == "auto" else "--images auto"
        raise ImageError(
            f"no {provider} source for image {', '.join(without[provider])}",
            where=[str(topology.path)],
            hint=hint,
        )
    return provider


def _nixos_source_exists(image: Image, root: Path) -> bool:
    """Whether the image names a NixOS source, and a local one really exists."""
    if image.nixos_flake is not None:
        folder = image.nixos_flake.partition("#")[0]
        return ":" in folder or (root / folder / "flake.nix").is_file()
    return image.nixos_config is not None and image.nixos_config.is_file()


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
            one = await _build(name, used[name], chosen, topology, cache, bus, deadline, turn)
            find_run_script(one.path, hint=f"it is damaged: rm -r {one.path}, then it is built again")
        except OrchestratorError as error:
            bus.emit(ImageStateChanged(name, state="failed", provider=chosen.value, key="", detail=error.what))
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


async def _build(
    name: str,
    image: Image,
    provider: Provider,
    topology: Topology,
    cache: ImageCache,
    bus: EventBus,
    deadline: Deadline,
    turn: Turn,
) -> BuiltImage:
    if provider is Provider.DEBIAN:
        from orchestrator.images.debian import build_debian

        assert image.debian is not None  # choose_provider made sure
        return await build_debian(
            name,
            image.debian,
            variant=topology.variant,
            app=topology.app,
            cache=cache,
            bus=bus,
            deadline=deadline,
            turn=turn,
        )
    from orchestrator.images.nixos import build_nixos

    async with turn:
        return await build_nixos(image, root=topology.root, cache=cache, bus=bus, deadline=deadline, app=topology.app)
