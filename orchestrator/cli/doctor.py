"""``orchestrator doctor``: one screen: whether this host can run the environment, and what to do if not."""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import shutil
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.cli import doctor_items as look
from orchestrator.cli import doctor_space as room
from orchestrator.cli.doctor_items import Item, State
from orchestrator.cli.doctor_nights import nights
from orchestrator.cli.progress_failure import use_color
from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.state import read_state
from orchestrator.errors import OrchestratorError, TopologyError
from orchestrator.folders import cache_root
from orchestrator.images import debian_host
from orchestrator.images.cache import ImageCache
from orchestrator.images.provider import choose_provider, provider_of, used_images
from orchestrator.text import clean, json_text
from orchestrator.topology.load import load_topology, missing_files
from orchestrator.topology.model import Topology

NOT_READY = 3  # the exit code when something is missing
_COLORS = {State.OK: "\x1b[32m", State.WARNING: "\x1b[33m", State.MISSING: "\x1b[1;31m"}
_DIM, _CYAN, _OFF = "\x1b[2m", "\x1b[36m", "\x1b[0m"


def run(arguments: argparse.Namespace) -> int:
    items = asyncio.run(examine(arguments))
    missing = sum(item.state is State.MISSING for item in items)
    if arguments.json:
        data = {"ready": not missing, "items": [asdict(item) for item in items]}
        sys.stdout.write(json_text(data, indent=2) + "\n")
    else:
        shown = [item for item in items if item.state is not State.OK] if arguments.quiet else items
        color = use_color(sys.stdout, False if arguments.no_color else None)
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        sys.stdout.write(screen(shown, color=color, verbose=bool(arguments.verbose), columns=columns))
        sys.stdout.write(verdict(items) if not arguments.quiet else "")
    return NOT_READY if missing else 0


def screen(items: Sequence[Item], *, color: bool, verbose: bool = False, columns: int = 0) -> str:
    """The items as lines, reasons and next steps below those that need them (``verbose``: below all).

    Reasons are wrapped to the terminal's ``columns``; 0 leaves them as they are, for pipes and grep.
    """

    def paint(code: str, text: str) -> str:
        return f"{code}{text}{_OFF}" if color else text

    width = max((len(item.name) for item in items), default=0)
    indent = " " * (9 + width + 2)
    lines = []
    for item in items:
        # Some of it comes from other programs' output.
        name, text = clean(item.name, 60), clean(item.text, 300)
        lines.append(f"{paint(_COLORS[item.state], f'{item.state.value:<9}')}{name:<{width}}  {text}")
        explained = verbose or item.state is not State.OK or item.name == "accelerator"
        if explained and item.reason:
            reason = clean(item.reason, 600)
            parts = textwrap.wrap(reason, max(30, columns - len(indent))) if columns else [reason]
            lines += [indent + paint(_DIM, part) for part in parts]
        if explained and item.next:
            lines.append(indent + paint(_CYAN, f"next: {clean(item.next, 300)}"))
    return "\n".join(lines) + "\n" if lines else ""


def verdict(items: Sequence[Item]) -> str:
    """The last line. Pure."""
    missing = [item.name for item in items if item.state is State.MISSING]
    warnings = sum(item.state is State.WARNING for item in items)
    noted = f"; {warnings} warning{'s' if warnings != 1 else ''}" if warnings else ""
    if missing:
        return f"\nnot ready: {', '.join(missing)}{noted}\n"
    return f"\nready: orchestrator up{noted}\n"


# ------------------------------------------------------------------ what is looked at


async def examine(arguments: argparse.Namespace) -> list[Item]:
    """Every item, in the order of the screen. What cannot be inspected is an item too."""
    topology, first = _topology(arguments)
    plan = _plan(topology, arguments.images)
    debian, cached = plan.provider == "debian", not plan.to_build

    def paths() -> EnvironmentPaths:
        return EnvironmentPaths.of(arguments.name or (topology.name if topology else "default"))

    def cache() -> Path:
        return ImageCache().root

    @functools.cache
    def facts() -> debian_host.HostFacts:
        return debian_host.gather(cache())

    async def rootless() -> Item:
        return await look.rootless(facts(), used=debian, cached=cached)

    async def accelerator() -> Item:
        return await look.accelerator(cache_root() / "accelerator.json", fresh=arguments.fresh)

    looks: list[tuple[str, Callable[[], Found | Awaitable[Found]]]] = [
        ("Python", look.python),
        ("Python packages", look.packages),
        ("QEMU", look.qemu),
        ("/dev/kvm", look.kvm_device),
        ("accelerator", accelerator),
        ("vde_switch", lambda: look.vde(topology)),
        ("images", lambda: plan.items),
        ("Debian image tools", lambda: look.debian_tools(facts(), used=debian, cached=cached)),
        ("build without root", rootless),
        ("Nix", lambda: look.nix(used=plan.provider == "nixos")),
        ("temporary folder", room.temporary),
        (
            "disks",
            lambda: room.disks(paths(), arguments.runs, cache(), images_needed=len(plan.to_build) * look.BASE_SPACE),
        ),
    ]
    if topology is not None:
        known = topology
        looks += [
            ("memory", lambda: room.memory(known, Path("/proc/meminfo").read_text(), running=_runs(paths()))),
            ("socket paths", lambda: room.socket_paths(known, paths())),
        ]
    looks += [("environments", _environments), ("nights", nights)]
    return [*first, *[item for name, one in looks for item in await _seen(name, one)]]


Found = Item | list[Item]


async def _seen(name: str, one: Callable[[], Found | Awaitable[Found]]) -> list[Item]:
    try:
        found = one()
        items = await found if isinstance(found, Awaitable) else found
    except OrchestratorError as error:
        return [look.failed(name, error)]
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home at all
        return [look.unseen(name, error)]
    return [items] if isinstance(items, Item) else items


def _topology(arguments: argparse.Namespace) -> tuple[Topology | None, list[Item]]:
    try:
        topology = load_topology(arguments.file, variant=arguments.variant)
    except TopologyError as error:
        if not error.evidence and not os.path.lexists(arguments.file):
            return None, [look.failed("topology", error, State.WARNING)]
        return None, [Item("topology", State.MISSING, error.what, "", "orchestrator validate")]
    named = f", variant {topology.variant}" if topology.variant else ""
    items = [Item("topology", State.OK, f"{topology.path}{named}")]
    lacking = missing_files(topology)
    if lacking:
        items.append(
            Item(
                "guest files",
                State.MISSING,
                f"{len(lacking)} missing",
                "; ".join(lacking),
                "put them there; docs/topology.md, files",
            )
        )
    return topology, items


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the images would come from, and the base layers that are not cached."""

    provider: str | None
    items: list[Item]
    to_build: list[str]


def _plan(topology: Topology | None, wanted: str) -> _Plan:
    if topology is None:
        return _Plan("debian" if wanted == "auto" else wanted, [], [])
    try:
        provider = choose_provider(wanted, topology)
        sources = {name: provider_of(image, provider) for name, image in used_images(topology).items()}
        cache = ImageCache()
        to_build = [name for name, source in sources.items() if not source.ready(name, cache, topology.variant)]
    except OrchestratorError as error:
        return _Plan(None, [look.failed("images", error)], [])
    except (OSError, RuntimeError) as error:
        return _Plan(None, [look.unseen("images", error)], [])
    title = next(iter(sources.values())).title
    if not to_build:
        ready = next(iter(sources.values())).ready_text
        return _Plan(provider, [Item("images", State.OK, f"{', '.join(sources)}: {title}, {ready}")], [])
    item = Item(
        "images",
        State.WARNING,
        f"{', '.join(to_build)}: {title}, to be built",
        "the first up takes minutes longer",
        "orchestrator images build, or leave it to up",
    )
    return _Plan(provider, [item], to_build)


def _runs(paths: EnvironmentPaths) -> bool:
    try:
        state = read_state(paths.state)
    except OrchestratorError:
        return False
    return state is not None and bool(state.live_processes)


def _environments() -> list[Item]:
    items = []
    for name in environments():
        paths = EnvironmentPaths.of(name)
        try:
            state = read_state(paths.state)
        except OrchestratorError as error:
            items.append(look.failed(f"environment {name}", error, State.WARNING))
            continue
        if state is None:
            continue  # a folder with a lock file only
        machines = sum(machine.process.alive for machine in state.machines.values())
        text = f"{machines} of {len(state.machines)} machines live, {state.phase}, started by `{state.command}`"
        if state.live_processes and machines == len(state.machines):
            items.append(Item(f"environment {name}", State.OK, text))
        else:
            items.append(
                Item(
                    f"environment {name}",
                    State.WARNING,
                    text,
                    "what is left of it can be removed",
                    f"orchestrator -n {name} down",
                )
            )
    return items or [Item("environments", State.OK, "none recorded")]
