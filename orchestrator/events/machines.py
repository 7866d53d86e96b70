"""Events of images, networks and machines."""

from __future__ import annotations

from typing import Literal

from orchestrator.events.base import Event, event_kind
from orchestrator.log_patterns import Severity

ImageState = Literal["cached", "building", "ready", "failed"]
NetworkState = Literal["ready", "stopped"]
MachineState = Literal[
    "starting", "booting", "restoring", "agent", "ssh", "ready", "stopping", "stopped", "panicked", "died"
]


@event_kind("image.state")
class ImageStateChanged(Event):
    """An image was found in the cache, is being built, is there, or could not be built.

    Attributes:
        subject: image
        state: the new state
        provider: who builds it, `debian` or `nixos`
        key: of its content in the cache
        seconds: that the build took
        path: of the image in the cache
        detail: what is built, or why it failed
    """

    state: ImageState
    provider: str = ""
    key: str = ""
    seconds: float | None = None
    path: str = ""
    detail: str = ""


@event_kind("image.output")
class ImageOutput(Event):
    """A line that the build of an image printed.

    Attributes:
        subject: image
        line: without the newline
        step: the part of the build
        shown: whether it is shown without `--verbose` too
    """

    line: str
    step: str
    shown: bool = False


@event_kind("network.state")
class NetworkStateChanged(Event):
    """A network between machines is there, or is gone.

    Attributes:
        subject: network
        state: the new state
        network_kind: as the topology has it
    """

    state: NetworkState
    network_kind: str = ""


@event_kind("machine.state")
class MachineStateChanged(Event):
    """A machine came one step further.

    `agent`: its guest agent answers. `ssh`: its sshd does. `ready`: it has its name, network and key.

    Attributes:
        subject: machine
        state: the new state
        elapsed: seconds since the machine was started
        detail: the reason, where there is one
    """

    state: MachineState
    elapsed: float | None = None
    detail: str = ""


@event_kind("log.match")
class LogMatched(Event):
    """A line of a console or journal matches one of the patterns that mean something.

    Attributes:
        subject: machine
        pattern: its name (`kernel-panic`, `oom-kill`, …)
        line: that matched
        explanation: what it means
        severity: what it does to the run
        waiver: the reason why the topology waives it; absent: it counts
    """

    pattern: str
    line: str
    explanation: str
    severity: Severity
    waiver: str = ""


@event_kind("screenshot")
class ScreenshotTaken(Event):
    """A machine's screen was saved as a picture.

    Attributes:
        subject: machine
        path: relative to the run folder
        step: at which it was taken
    """

    path: str
    step: str
