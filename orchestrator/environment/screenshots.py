"""Pictures of a machine's display, in the run folder."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import MachineError
from orchestrator.events import EventBus
from orchestrator.events.machines import ScreenshotTaken
from orchestrator.events.run import Note
from orchestrator.vm.qmp import Monitor


async def take_screenshot(monitor: Monitor, bus: EventBus, step: str, run_folder: Path) -> None:
    """Write a numbered PNG file; a failure is only noted.

    Args:
        step: what it shows, part of the file's name.
    """
    folder = run_folder / "machines" / monitor.machine / "screenshots"
    number = len(list(folder.glob("*.png"))) + 1
    path = folder / f"{number:03d}-{step}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        await monitor.screenshot(path)
    except (MachineError, OSError) as error:
        why = error.why if isinstance(error, MachineError) else error
        bus.emit(Note(monitor.machine, level="warning", message=f"no screenshot at {step}: {why}"))
        return
    bus.emit(ScreenshotTaken(monitor.machine, path=str(path.relative_to(run_folder)), step=step))
