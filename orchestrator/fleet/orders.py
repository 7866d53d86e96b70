"""What a host is told and what it answers, as plain data that travels as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.fleet.needs import Needs


@dataclass(frozen=True, slots=True)
class Times:
    """How long hosts and we wait for each other, in seconds.

    Attributes:
        lease: a host from which no answer came for so long ends its cells by itself.
        ending: what a cell has to end in order.
        patience: how long a cell waits for memory that others have not given back yet.
    """

    lease: float = 60.0
    ending: float = 90.0
    patience: float = 120.0

    @property
    def beat(self) -> float:
        """Between two questions of a host whether we are there."""
        return self.lease / 6

    @property
    def given_up(self) -> float:
        """After the last answer to a host, no cell of ours runs there any more, whatever has become of it."""
        return self.lease + self.beat + 2 * self.ending


@dataclass(frozen=True, slots=True)
class Contract:
    """What a host has to know of the whole run.

    Attributes:
        run: the run's id.
        host: the host's name here.
    """

    run: str
    host: str
    times: Times


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt to run a cell.

    Attributes:
        name: of the cell's environment: the same in all attempts.
        words: of `orchestrator`; unused with a command.
        command: what runs in place of `orchestrator run`.
        variables: of the process, besides those of the host.
        folder: where run folders of this attempt go; relative: below the host's own state folder.
        limit: seconds.
    """

    run: str
    cell: str
    attempt: int
    name: str
    words: tuple[str, ...]
    command: tuple[str, ...]
    variables: Mapping[str, str]
    cwd: str
    folder: Path
    needs: Needs
    limit: float

    @property
    def key(self) -> str:
        """Names the attempt; no other one has it."""
        return f"cell-{self.run}-{self.cell}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended.

    Attributes:
        code: exit code; None: nothing was started.
        folder: of the attempt, on its host.
        refused: why the host did not begin it; it may begin elsewhere.
        stopped: it was ended, by us or because no answer came any more.
        left: what of it could not be ended.
    """

    code: int | None = None
    seconds: float = 0.0
    folder: str = ""
    refused: str = ""
    stopped: bool = False
    left: str = ""


@dataclass(frozen=True, slots=True)
class HostReady:
    """A host is ready for cells of a run.

    Attributes:
        ended: cells of earlier attempts that still ran there, and do not any more.
        left: what could not be ended, one line each.
    """

    ended: tuple[str, ...] = ()
    left: tuple[str, ...] = field(default_factory=tuple)
