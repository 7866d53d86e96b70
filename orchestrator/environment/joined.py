"""A run on machines that an earlier command started: its folder tells what they are, and has their logs of its time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from orchestrator.environment.state import EnvironmentState
from orchestrator.events import EventBus
from orchestrator.fields import SENTENCE, number, text

EVENTS_READ = 20_000  # lines of the earlier command's events; host and images are among the first
PIECE = 1 << 20


def tell_again(state: EnvironmentState, bus: EventBus) -> None:
    """Emit what is known of host and images as the command that started them did."""
    host: Mapping[str, object] | None = None
    images: dict[str, Mapping[str, object]] = {}
    for event in _events(state.run_folder / "events.jsonl"):
        if event.get("kind") == "host.accelerator":
            host = event
        elif event.get("kind") == "image.state" and text(event, "state") in ("cached", "ready"):
            images[text(event, "subject")] = event
    known = host or {}
    reason = text(known, "reason", SENTENCE) or "as the environment was started"
    bus.emit(
        "host.accelerator", accelerator=state.accelerator, factor=state.factor, reason=reason, qemu=text(known, "qemu")
    )
    for name, machine in state.machines.items():
        image = state.topology.machines[name].image
        images.setdefault(image, {"provider": state.provider, "path": machine.image})
    for image, event in images.items():
        fields = {key: text(event, key, SENTENCE) for key in ("provider", "key", "path") if text(event, key)}
        spent = number(event, "seconds")
        more = {} if spent is None else {"seconds": spent}
        bus.emit("image.state", image, state="cached", **fields, **more)


def _events(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in islice(file, EVENTS_READ):
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(event, dict):
                    yield event
    except OSError:
        return  # it was removed; the state tells the rest


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
                start = 0  # begun anew
            copy = target / path.relative_to(self.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, copy.open("wb") as file:
                source.seek(start)
                while piece := source.read(PIECE):
                    file.write(piece)


def _logs(folder: Path) -> list[Path]:
    """What QEMU and the networks write, not what commands collect."""
    found = [*folder.glob("machines/*/*"), *folder.glob("networks/*")]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())
