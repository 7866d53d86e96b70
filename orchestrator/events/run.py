"""Events of a whole run: its plan, its host, its notes, its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import OrchestratorError
from orchestrator.events.base import Event, event_kind

Level = Literal["info", "warning"]
RunOutcome = Literal["passed", "suspicious", "failed", "error", "interrupted", "nothing-ran"]


@dataclass(frozen=True, slots=True)
class PlannedMachine:
    """A machine of the plan; ``memory`` in MiB."""

    name: str
    image: str
    cpus: int
    memory: int


@dataclass(frozen=True, slots=True)
class PlannedService:
    """A service of the plan; ``depends_on`` has names of services."""

    name: str
    machine: str
    kind: str
    unit: str | None
    depends_on: tuple[str, ...]


@event_kind("run.started")
class RunStarted(Event):
    """A command begins with an environment; the first line of a run folder's ``events.jsonl``.

    Attributes:
        subject: environment
        format: number of this file's format
        command: the command line (`up`, `run`, …)
        run_id: name of the run folder
        run_folder: path of the run folder
        variant: the topology's variant
        provider: who builds the images, `debian` or `nixos`
        topology: path of the topology file
        machines: the machines that are to run
        services: the services that are to run
        version: the orchestrator's version
        suite_machine: where the browser suite runs; absent: there is none
        traceparent: the trace that the command was called in, as TRACEPARENT has it
    """

    format: int
    command: str
    run_id: str
    run_folder: str
    variant: str
    provider: str
    topology: str
    machines: tuple[PlannedMachine, ...]
    services: tuple[PlannedService, ...]
    version: str
    suite_machine: str = ""
    traceparent: str = ""


@event_kind("host.accelerator")
class AcceleratorChosen(Event):
    """How the machines' CPUs are run on this host.

    Attributes:
        accelerator: `kvm` or `tcg`
        reason: why this one
        time_scale: what all time limits are multiplied by
        qemu: QEMU's version
    """

    accelerator: str
    reason: str
    time_scale: float
    qemu: str


@event_kind("run.revision")
class RevisionFound(Event):
    """What a part of the run is, exactly: two runs with the same digests ran the same thing.

    Images have theirs in `image.state`, QEMU in `host.accelerator`, this program in `run.started`.

    Attributes:
        subject: `topology`, `suite` or `layer NAME`
        digest: of its content
        label: the commit of its folder, with `-dirty` where files differ from it; absent: it is in no Git repository
        folder: where it is; absent: it is the topology
    """

    digest: str
    label: str = ""
    folder: str = ""


@event_kind("run.ready")
class RunReady(Event):
    """Every machine is up and every service was proven.

    Attributes:
        subject: environment
        elapsed: seconds since the command began
        restored: whether the machines come from a saved state; absent after `restart`
    """

    elapsed: float | None
    restored: bool | None = None


@event_kind("run.finished")
class RunFinished(Event):
    """The command ends; the last line.

    Attributes:
        subject: environment
        outcome: what the run comes to
        exit_code: the command's exit code
        elapsed: seconds since the command began
    """

    outcome: RunOutcome
    exit_code: int | None
    elapsed: float | None


@event_kind("note")
class Note(Event):
    """Something that a person should know, and that ends nothing.

    Attributes:
        subject: machine, image or empty
        level: how much it matters
        message: one sentence
        run_folder: the run folder of a killed command; this command writes its reports
    """

    message: str
    level: Level = "info"
    run_folder: str = ""


@event_kind("failure")
class Failure(Event):
    """The error that ends the command, as the terminal explains it.

    Attributes:
        subject: machine, service or empty
        type: class of the error
        what: what happened, one sentence
        why: the cause as far as it is known; may have several lines
        where: paths of the evidence, or `file:line:column`
        hint: what to do next
        evidence: last lines of a log, or the last message of a check
        exit_code: the exit code of such an error
    """

    type: str
    what: str
    why: str = ""
    where: tuple[str, ...] = ()
    hint: str = ""
    evidence: tuple[str, ...] = ()
    exit_code: int | None = None

    @classmethod
    def of(cls, error: OrchestratorError) -> Failure:
        """The event of an error."""
        return cls(
            error.subject,
            type=type(error).__name__,
            what=error.what,
            why=error.why,
            where=error.where,
            hint=error.hint,
            evidence=error.evidence,
            exit_code=error.exit_code,
        )
