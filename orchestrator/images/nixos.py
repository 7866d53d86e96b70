"""The NixOS provider: ``nixos-rebuild build-vm``, or what comes closest with the Nix tools that are there.

Nix is its own cache: it is asked every time, and answers at once when nothing
changed. The cache entry is a folder whose ``result`` links to the store (and keeps it
from Nix's garbage collection); its key is that store path.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import ImageError
from orchestrator.events import EventBus
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import BuiltImage, find_run_script
from orchestrator.images.recipe import digest
from orchestrator.process import describe_exit, run, stream_lines
from orchestrator.topology.model import Image

TOOLS = ("nixos-rebuild", "nix", "nix-build", "nix-store")
FLAKES = ("--extra-experimental-features", "nix-command flakes")
APP_INPUT = "app"  # of the flake: a folder with bin/alicia and share/alicia
TAIL = 30  # lines of the build's output an error carries

# Part of a build's output → what to do about it.
HINTS = (
    ("does not provide attribute", "check the name after # in nixos_flake against `nix flake show`"),
    ("is not tracked by Git", "git add the file: a flake sees only files that Git knows"),
    ("experimental feature", "add `experimental-features = nix-command flakes` to nix.conf"),
    ("cannot connect to socket", "start the Nix daemon: systemctl start nix-daemon"),
    ("file 'nixpkgs/nixos' was not found", "set NIX_PATH, e.g. nixpkgs=channel:nixos-unstable"),
    ("No space left on device", "nix-collect-garbage frees space in the store"),
    ("unable to download", "the build needs its binary cache: check the network"),
)


def build_argv(image: Image, tools: Sequence[str], app: Path | None = None) -> list[str]:
    """The command that builds the image and leaves a link to it; pure.

    nixos-rebuild always makes ``result`` in its working directory, so the others do the same.

    Args:
        tools: which of `TOOLS` the host has.
        app: an application package that takes the place of the flake's own; absolute.

    Raises:
        ImageError: none of them can build this image.
    """
    if image.nixos_flake is not None:
        folder, _, attribute = image.nixos_flake.partition("#")
        if not attribute:
            raise ImageError(
                f"image {image.name}: {image.nixos_flake} names no attribute", hint="write DIR#NAME"
            )
        instead = [] if app is None else ["--override-input", APP_INPUT, f"path:{app}"]
        if "nixos-rebuild" in tools:
            return ["nixos-rebuild", "build-vm", "--flake", f"{folder}#{attribute}", *instead]
        if "nix" in tools:
            installable = f"{folder}#nixosConfigurations.{attribute}.config.system.build.vm"
            return ["nix", *FLAKES, "build", "--print-build-logs", *instead, installable]
    elif image.nixos_config is not None and app is not None:
        raise ImageError(
            f"image {image.name}: another application needs a flake",
            why=f"{image.nixos_config} is built without one, so {app} cannot take the place of its application",
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


def absolute(image: Image, root: Path) -> Image:
    """The image with its flake's folder made absolute: the build runs in another directory."""
    if image.nixos_flake is None:
        return image
    folder, mark, attribute = image.nixos_flake.partition("#")
    if ":" in folder or folder.startswith("/"):  # github:…, path:…
        return image
    flake = f"{(root / folder).resolve()}{mark}{attribute}"
    return Image(image.name, image.debian, flake, image.nixos_config)


def other_app(image: Image, app: Path | None) -> Path | None:
    """The application to put into the image, absolute; None when it is the one the flake has by itself.

    That is the folder ``standin`` beside the flake's.

    Args:
        image: with its flake made absolute.
    """
    if app is None:
        return None
    folder = (image.nixos_flake or "").partition("#")[0]
    own = Path(folder).parent / "standin" if folder.startswith("/") else None
    return None if own is not None and own.resolve() == app.resolve() else app.resolve()


def hint_for(lines: Sequence[str]) -> str:
    """What to do about a failed build, as far as its output tells."""
    text = "\n".join(lines)
    return next(
        (hint for pattern, hint in HINTS if pattern in text), "read the log; `--show-trace` shows more"
    )


async def build_nixos(
    image: Image,
    *,
    root: Path,
    cache: ImageCache,
    bus: EventBus,
    deadline: Deadline,
    app: Path | None = None,
) -> BuiltImage:
    """Build (or let Nix find) an image.

    Args:
        root: the folder a relative flake is meant from.
        app: the application package of the topology; the flake's own changes nothing.

    Raises:
        ImageError: no Nix, or the build failed (with its last lines and the log's path).
    """
    started = monotonic()
    tools = [tool for tool in TOOLS if shutil.which(tool)]
    image = absolute(image, root)
    argv = build_argv(image, tools, other_app(image, app))
    # One working folder per command line: two environments that want the same image take turns in it.
    work = cache.root / ".nixos" / f"{image.name}-{digest(argv)[:16]}"
    log = cache.root / "logs" / f"{image.name}-nixos.log"
    work.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    bus.emit(
        "image.state", image.name, state="building", provider="nixos", key="", why="Nix decides what is built"
    )
    built_something = await _build(image, argv, work, log, bus, deadline)
    store = (work / "result").resolve()
    find_run_script(store)
    key = digest(str(store))

    async def link(folder: Path) -> None:
        (folder / "result").symlink_to(store)
        (folder / "bin").symlink_to("result/bin")

    path, cached = await cache.obtain(
        image.name, "nixos", key, link, waiting=lambda _holder, _elapsed: None, deadline=deadline
    )
    if not cached and "nix-store" in tools:
        # Nix's garbage collector spares what this link holds, also when a later build moves the link in `work`.
        root_link = ["nix-store", "--add-root", str(path / "result"), "--realise", str(store)]
        await run(root_link, deadline=deadline, check=False)
    return BuiltImage(image.name, path, key, "nixos", cached and not built_something, monotonic() - started)


async def _build(
    image: Image, argv: list[str], work: Path, log: Path, bus: EventBus, deadline: Deadline
) -> bool:
    """Run the build; whether Nix had to build anything."""
    lines: list[str] = []
    built = False
    with log.open("w", encoding="utf-8") as sink:
        sink.write(f"+ {' '.join(argv)}\n")

        def on_line(line: str) -> None:
            nonlocal built
            sink.write(line + "\n")
            sink.flush()
            lines.append(line)
            del lines[:-TAIL]
            built = built or line.startswith("building '/nix/store/")
            bus.emit("image.output", image.name, line=line, step=argv[0])

        code = await stream_lines(argv, on_line, deadline=deadline, cwd=work)
    if code != 0:
        raise ImageError(
            f"image {image.name}: {argv[0]} {describe_exit(code)}",
            where=[str(log)],
            evidence=lines,
            hint=hint_for(lines),
        )
    if not (work / "result").exists():
        raise ImageError(
            f"image {image.name}: {argv[0]} succeeded but left no result link",
            where=[str(log), os.fspath(work)],
            evidence=lines,
        )
    return built
