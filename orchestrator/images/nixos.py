"""The NixOS provider: ``nixos-rebuild build-vm``, or its nearest equivalent with the Nix tools of this host.

Nix is its own cache: it is called every time, and returns at once if nothing
changed. The cache entry is a folder whose ``result`` links to the store (and keeps it
from Nix's garbage collection); its key is that store path.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import ImageError, TimeLimit
from orchestrator.events import EventBus
from orchestrator.events.machines import ImageOutput, ImageStateChanged
from orchestrator.events.run import Note
from orchestrator.events.services import Heartbeat
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import LONGER, BuiltImage, find_run_script
from orchestrator.images.nixos_output import Output
from orchestrator.images.recipe import digest
from orchestrator.process import describe_exit, run
from orchestrator.process_lines import stream_lines
from orchestrator.tasks import run_with_watchdogs
from orchestrator.topology.model import Layer

TOOLS = ("nixos-rebuild", "nix", "nix-build", "nix-store")
FLAKES = ("--extra-experimental-features", "nix-command flakes")
RESULT = "result"  # the link that every one of them leaves in its working directory
NO_INPUTS: Mapping[str, Path] = MappingProxyType({})
SILENCE = 20.0  # seconds without a line, after which a build is reported as still running
LOOK = 0.25  # of that: how often somebody looks
NOBODYS = frozenset({"nixos", "unnamed"})  # names of machines that were given none


@dataclass(frozen=True, slots=True)
class NixImage:
    """An image of the topology as Nix makes it.

    Attributes:
        nixos_flake: ``DIR#ATTRIBUTE`` for ``nixos-rebuild build-vm --flake``, or None.
        nixos_config: a configuration file for builds without flakes, or None.
    """

    name: str
    nixos_flake: str | None = None
    nixos_config: Path | None = None


def build_argv(image: NixImage, tools: Sequence[str], inputs: Mapping[str, Path] = NO_INPUTS) -> list[str]:
    """The command that builds the image and leaves a link to it; pure.

    nixos-rebuild always makes ``result`` in its working directory, so the others do the same.

    Args:
        tools: which of `TOOLS` the host has.
        inputs: absolute folders that take the places of inputs of the flake.

    Raises:
        ImageError: none of them can build this image.
    """
    if image.nixos_flake is not None:
        folder, _, attribute = image.nixos_flake.partition("#")
        if not attribute:
            raise ImageError(f"image {image.name}: {image.nixos_flake} names no attribute", hint="write DIR#NAME")
        instead = [
            word
            for name, source in inputs.items()
            for word in ("--override-input", name, f"path:{quote(os.fsencode(source))}")
        ]
        if "nixos-rebuild" in tools:
            return ["nixos-rebuild", "build-vm", "--flake", f"{folder}#{attribute}", *instead]
        if "nix" in tools:
            installable = f"{folder}#nixosConfigurations.{attribute}.config.system.build.vm"
            return ["nix", *FLAKES, "build", "--print-build-logs", *instead, installable]
    elif image.nixos_config is not None and inputs:
        folders = " and ".join(map(str, inputs.values()))
        raise ImageError(
            f"image {image.name}: another folder for a layer with nixos_input needs a flake",
            why=f"{image.nixos_config} is built without one, so {folders} cannot take the place of an input",
            hint="name a flake in nixos_flake, or use --images debian",
        )
    elif image.nixos_config is not None:
        source = f"nixos-config={image.nixos_config}"
        if "nixos-rebuild" in tools:
            return ["nixos-rebuild", "build-vm", "-I", source]
        if "nix-build" in tools:
            return ["nix-build", "<nixpkgs/nixos>", "-A", "vm", "-I", source]
    else:
        raise ImageError(
            f"image {image.name} has no NixOS source", hint="nixos_flake or nixos_config; or --images debian"
        )
    raise ImageError(
        f"image {image.name} cannot be built: no usable Nix on this host",
        why=f"looked for {', '.join(TOOLS[:3])} on PATH, found {', '.join(tools) or 'none'}",
        hint="install Nix (https://nixos.org/download), or use --images debian",
    )


def absolute(image: NixImage, root: Path) -> NixImage:
    """The image with its flake's folder made absolute: the build runs in another directory."""
    if image.nixos_flake is None:
        return image
    folder, mark, attribute = image.nixos_flake.partition("#")
    if ":" in folder or folder.startswith("/"):  # github:…, path:…
        return image
    flake = f"{(root / folder).resolve()}{mark}{attribute}"
    return NixImage(image.name, flake, image.nixos_config)


def inputs_of(image: NixImage, layers: Sequence[Layer]) -> dict[str, Path]:
    """The folders of layers that take the places of inputs of the flake, absolute; not those that are its own.

    Those are the file's own folders beside the flake's: the flake has them by itself, packaged as it sees fit.

    Args:
        image: with its flake made absolute.
    """
    folder = (image.nixos_flake or "").partition("#")[0]
    beside = Path(folder).parent.resolve() if folder.startswith("/") else None
    return {
        layer.nixos_input: layer.source.resolve()
        for layer in layers
        if layer.nixos_input and (layer.replaced or layer.source.resolve().parent != beside)
    }


def fits(script: str, image: NixImage) -> bool:
    """Whether a machine of this name may be what the image asked for.

    A configuration's host name is often part of its attribute's name, or the other way round
    (``server`` and ``server-minimal``). One that has nothing in common is another machine.
    """
    source = (image.nixos_flake or "").partition("#")[2] or (image.nixos_config.stem if image.nixos_config else "")
    wanted = {*_parts(image.name), *_parts(source)}
    return script in NOBODYS or not wanted.isdisjoint(_parts(script))


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[^A-Za-z0-9]+", name.lower()) if part]


async def build_nixos(
    image: NixImage,
    *,
    root: Path,
    cache: ImageCache,
    bus: EventBus,
    deadline: Deadline,
    layers: Sequence[Layer] = (),
) -> BuiltImage:
    """Build (or let Nix find) an image.

    Args:
        root: the folder a relative flake is meant from.
        layers: those of its machines; the flake brings those with a ``nixos_input``.

    Raises:
        ImageError: no Nix, or the build failed (with its last lines and the log's path).
    """
    started = monotonic()
    tools = [tool for tool in TOOLS if shutil.which(tool)]
    image = absolute(image, root)
    argv = build_argv(image, tools, inputs_of(image, layers))
    # One working folder per command line: two commands that want the same image take turns in it.
    work = cache.root / ".nixos" / f"{image.name}-{digest(argv)[:16]}"
    work.mkdir(parents=True, exist_ok=True)
    build = _Build(image, argv, work, cache.root / "logs" / f"{image.name}-nixos.log", bus, deadline)
    async with cache.build_lock(work.name, build.waiting, deadline):
        built_something = await build.run()
        store = build.result()
        script = find_run_script(store, hint=f"read {build.log}: the build must be of system.build.vm")
        machine = script.name.removeprefix("run-").removesuffix("-vm")
        if not fits(machine, image):
            raise ImageError(
                f"image {image.name}: Nix built another machine, {machine}",
                why=f"{script} is what it left; nothing of that name is in {image.nixos_flake or image.nixos_config}",
                where=[str(build.log)],
                hint="name the right configuration after # in nixos_flake, or give it networking.hostName",
            )
        key = digest(str(store))

        async def link(folder: Path) -> None:
            (folder / "result").symlink_to(store)
            (folder / "bin").symlink_to("result/bin")

        path, cached = await cache.obtain(image.name, "nixos", key, link, waiting=build.waiting, deadline=deadline)
        if not cached and "nix-store" in tools:
            # Nix's garbage collector spares what this link holds, also when a later build moves the link in `work`.
            root_link = ["nix-store", "--add-root", str(path / "result"), "--realise", str(store)]
            await run(root_link, deadline=deadline, check=False)
    return BuiltImage(image.name, path, key, "nixos", cached and not built_something, monotonic() - started)


class _Build:
    """One call of Nix: its arguments, output and result."""

    def __init__(
        self, image: NixImage, argv: list[str], work: Path, log: Path, bus: EventBus, deadline: Deadline
    ) -> None:
        self.log = log
        self._image = image
        self._argv = argv
        self._work = work
        self._bus = bus
        self._deadline = deadline
        self._output = Output()
        self._spoke = monotonic()

    def waiting(self, holder: str, _elapsed: float) -> None:
        """Report from time to time that another command builds."""
        if monotonic() - self._spoke >= SILENCE:
            self._heartbeat(f"image {self._image.name}, which another command builds", holder)

    async def run(self) -> bool:
        """Run the build; whether Nix had to build anything.

        Raises:
            ImageError: it failed (with its last lines and the log's path).
            TimeLimit: it took too long; names the image, and the option that gives it more.
        """
        (self._work / RESULT).unlink(missing_ok=True)  # an older build's must not pass for this one's
        self.log.parent.mkdir(parents=True, exist_ok=True)
        why = "Nix decides what is built"
        self._bus.emit(ImageStateChanged(self._image.name, state="building", provider="nixos", key="", detail=why))
        with self.log.open("w", encoding="utf-8") as sink:
            sink.write(f"+ {' '.join(self._argv)}\n")

            def on_line(line: str) -> None:
                sink.write(line + "\n")
                sink.flush()
                self._on_line(line)

            try:
                code = await run_with_watchdogs(
                    stream_lines(self._argv, on_line, deadline=self._deadline, cwd=self._work), [self._live]
                )
            except TimeLimit as error:
                raise self._too_slow() from error
        if code != 0:
            raise ImageError(
                f"image {self._image.name}: {self._argv[0]} {describe_exit(code)}",
                where=[str(self.log)],
                evidence=self._output.tail,
                hint=self._output.hint,
            )
        return self._output.built

    def result(self) -> Path:
        """The target of the link that Nix left.

        Raises:
            ImageError: there is no link, or nothing at its end.
        """
        link = self._work / RESULT
        if not link.is_symlink() and not link.exists():
            raise ImageError(
                f"image {self._image.name}: {self._argv[0]} succeeded but left no result link",
                why=f"{link} was removed before the build, and is not there after it",
                where=[str(self.log)],
                evidence=self._output.tail,
                hint=f"does {self._argv[0]} work by hand, in an empty folder?",
            )
        if not link.exists():
            raise ImageError(
                f"image {self._image.name}: {self._argv[0]} left a link to nothing",
                why=f"{link} points to {link.readlink()}, which is not there",
                where=[str(self.log)],
                evidence=self._output.tail,
                hint="the store must be at /nix/store of this host, and not be swept while something is built",
            )
        return link.resolve()

    def _on_line(self, line: str) -> None:
        self._spoke = monotonic()
        name = self._image.name
        warning = self._output.add(line)
        if warning:
            self._bus.emit(Note(name, level="warning", message=line))
        self._bus.emit(ImageOutput(name, line=line, step=self._argv[0], shown=not warning))

    async def _live(self) -> None:
        """Report from time to time that a silent build still runs; never return."""
        while True:
            await asyncio.sleep(SILENCE * LOOK)
            if monotonic() - self._spoke >= SILENCE:
                last = self._output.tail[-1] if self._output.tail else "no output yet"
                self._heartbeat(f"{self._argv[0]} of image {self._image.name}", last)

    def _heartbeat(self, what: str, last: str) -> None:
        self._spoke = monotonic()
        elapsed, limit = round(self._deadline.elapsed, 1), self._deadline.timeout
        self._bus.emit(Heartbeat(self._image.name, what=what, elapsed=elapsed, timeout=limit, detail=last))

    def _too_slow(self) -> TimeLimit:
        return TimeLimit(
            f"image {self._image.name} was not built within {self._deadline}",
            why=f"{self._argv[0]} was still running; what it had finished is kept in the store",
            where=[str(self.log)],
            evidence=self._output.tail[-5:],
            hint=LONGER,
        )
