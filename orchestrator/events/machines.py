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

ClockReason = Literal["hand-over", "restore", "cont", "joined", "end"]


@event_kind("image.state")
class ImageStateChanged(Event):
    """An image was found in the cache, is being built, is there, or could not be built.

    Attributes:
        subject: image
        state: the new state
        provider: who builds it, `debian` or `nixos`
        key: name of its content in the cache
        seconds: how long the build took
        path: where it is in the cache
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
        line: the line, without the newline
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
        network_kind: its `kind` in the topology
    """

    state: NetworkState
    network_kind: str = ""


@event_kind("machine.state")
class MachineStateChanged(Event):
    """A machine is one step further: `agent` when its guest agent answers, `ssh` when its sshd does.

    Attributes:
        subject: machine
        state: the new state
        elapsed: seconds since the machine was started
        detail: the reason, where there is one
    """

    state: MachineState
    elapsed: float | None = None
    detail: str = ""


@event_kind("machine.clock")
class MachineClock(Event):
    """The clock of a guest was compared with the host's: a time of the guest and `offset` is a time of the host.

    Attributes:
        subject: machine
        offset: seconds that the guest's clock is behind the host's
        uncertainty: how many seconds the offset may be wrong
        reason: what happened to the clock before
        since: `at` of the moment from which the guest's clocks run as they do now; absent: they went on
    """

    offset: float
    uncertainty: float
    reason: ClockReason
    since: float | None = None


@event_kind("log.match")
class LogMatched(Event):
    """A line of a console or journal matches one of the patterns that mean something.

    Attributes:
        subject: machine
        pattern: the pattern's name (`kernel-panic`, `oom-kill`, …)
        line: the line that matched
        explanation: what it means
        severity: what it does to the run
        waiver: why the topology waives it; absent: it counts
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
        path: the picture, relative to the run folder
        step: when it was taken, in a word
    """

    path: str
    step: str
