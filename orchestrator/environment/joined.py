"""A run on machines that an earlier command started: its folder tells what they are, and has their logs of its time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from orchestrator.environment.state import EnvironmentState
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import ImageStateChanged
from orchestrator.events.read import load_events
from orchestrator.events.run import AcceleratorChosen, Note
from orchestrator.fields import SENTENCE, WORD
from orchestrator.images.folder_disk import measure
from orchestrator.snapshots.key import layer_input
from orchestrator.text import clean
from orchestrator.threads import in_thread
from orchestrator.vm.arrivals import SUFFIX, shifted, times_of

EVENTS_READ = 20_000  # lines of the earlier command's events; host and images are among the first
PIECE = 1 << 20


def tell_again(state: EnvironmentState, bus: EventBus) -> None:
    """Emit what is known of host and images as the command that started them did."""
    host: AcceleratorChosen | None = None
    images: dict[str, ImageStateChanged] = {}
    for event in _events(state.run_folder / "events.jsonl"):
        match event:
            case AcceleratorChosen():
                host = event
            case ImageStateChanged(state="cached" | "ready"):
                images[clean(event.subject, WORD)] = event
    reason = clean(host.reason if host else "", SENTENCE) or "as the environment was started"
    bus.emit(
        AcceleratorChosen(
            accelerator=state.accelerator,
            time_scale=state.factor,
            reason=reason,
            qemu=clean(host.qemu if host else "", WORD),
        )
    )
    for name, machine in state.machines.items():
        image = state.topology.machines[name].image
        images.setdefault(image, ImageStateChanged(image, state="cached", provider=state.provider, path=machine.image))
    for image, event in images.items():
        provider, key, path = (clean(text, SENTENCE) for text in (event.provider, event.key, event.path))
        bus.emit(ImageStateChanged(image, state="cached", provider=provider, key=key, seconds=event.seconds, path=path))


async def changed_layers(state: EnvironmentState) -> list[str]:
    """The layers whose folders hold something else than the machines that run."""
    changed = []
    for layer in state.topology.layers.values():
        names = [layer_input(layer.name, machine) for machine in state.machines]
        had = {state.inputs[name].partition(" ")[0] for name in names if name in state.inputs}
        if not had:
            continue
        try:
            found = await in_thread(partial(measure, layer.source, layer.exclude, read=True))
        except OSError:
            continue  # nothing can be said; a start says why
        if had != {found.key}:
            changed.append(layer.name)
    return changed


def warn_of_kept(state: EnvironmentState, layers: Iterable[str], why: str, bus: EventBus) -> None:
    """Say of layers that the machines keep what they were started with."""
    for name in layers:
        what = f"layer {name} changed since the machines were started; they keep what it was then ({why})"
        bus.emit(Note(level="warning", message=f"{what}: orchestrator -n {state.name} down, then up, brings it in"))


def _events(path: Path) -> Iterator[Event]:
    with suppress(OSError):  # it was removed; the state tells the rest
        yield from islice(load_events(path), EVENTS_READ)


@dataclass(frozen=True, slots=True)
class LogMarks:
    """Where the logs of machines and networks in a run folder ended at a time."""

    folder: Path
    sizes: Mapping[Path, int]

    @classmethod
    def of(cls, folder: Path) -> LogMarks:
        return cls(folder, {path: path.stat().st_size for path in _logs(folder)})

    def copy_since(self, target: Path) -> None:
        """Copy what was written since into another run folder, file by file.

        Raises:
            OSError: there is no room, or a log is gone.
        """
        for path in _logs(self.folder):
            start = self.sizes.get(path, 0)
            if path.stat().st_size < start:
                start = 0  # begun again
            copy = target / path.relative_to(self.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == SUFFIX:
                continue
            _copy_times(path, copy, start)
            with path.open("rb") as source, copy.open("wb") as file:
                source.seek(start)
                while piece := source.read(PIECE):
                    file.write(piece)


def _copy_times(log: Path, copy: Path, start: int) -> None:
    """The times of what is copied, where there are some."""
    with suppress(OSError):
        lines = shifted(times_of(log).read_text(encoding="ascii", errors="replace").splitlines(), start)
        times_of(copy).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def _logs(folder: Path) -> list[Path]:
    """What QEMU and the networks write, not what commands collect."""
    found = [*folder.glob("machines/*/*"), *folder.glob("networks/*")]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())
