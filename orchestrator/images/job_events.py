"""What a build reports: the lines of its steps, and that another command is building the same."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.events.machines import ImageOutput
from orchestrator.events.services import Heartbeat
from orchestrator.images.provider_kind import Build

HEARTBEAT = 5.0  # seconds between two reports while another command builds


def say_of(job: Build) -> Callable[[str, str], None]:
    """Reports a line of a step of the build."""

    def say(line: str, step: str) -> None:
        job.bus.emit(ImageOutput(job.name, line=line, step=step))

    return say


def waiting_of(job: Build) -> Callable[[str, float], None]:
    """Reports now and then that another command builds what is needed."""
    said = [float("-inf")]

    def waiting(holder: str, elapsed: float) -> None:
        if elapsed - said[0] >= HEARTBEAT:
            said[0] = elapsed
            what = f"image {job.name}, which another command builds"
            timeout = job.deadline.timeout
            job.bus.emit(Heartbeat(job.name, what=what, elapsed=elapsed, timeout=timeout, detail=holder))

    return waiting
