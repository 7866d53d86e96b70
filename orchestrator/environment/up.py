"""From a topology to a running environment that has proven itself."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orchestrator
from orchestrator.deadline import Deadline
from orchestrator.debug import debug_log
from orchestrator.environment.admission import admit
from orchestrator.environment.joined import LogMarks, tell_again
from orchestrator.environment.lock import hold
from orchestrator.environment.memory import choose_ram_backing
from orchestrator.environment.paths import EnvironmentPaths, new_run_folder
from orchestrator.environment.plan import Request, plan
from orchestrator.environment.reaper_client import ReaperClient, reaper_client
from orchestrator.environment.session import Launch, Session
from orchestrator.environment.ssh_files import write_ssh_files
from orchestrator.environment.state import EnvironmentState, StateFile, read_state
from orchestrator.environment.teardown import orphans, take_down
from orchestrator.environment.verdict import warn_of_expired
from orchestrator.environment.warm import begin, choose, is_clone, save_healthy
from orchestrator.errors import HostError, OrchestratorError, ServiceError, TimeLimit
from orchestrator.events import EventBus, JsonLinesLog, wall_clock
from orchestrator.events.base import FORMAT
from orchestrator.events.run import (
    Failure,
    Note,
    PlannedMachine,
    PlannedService,
    RunFinished,
    RunOutcome,
    RunReady,
    RunStarted,
)
from orchestrator.guest.keys import make_user_key
from orchestrator.images.cache import ImageCache
from orchestrator.images.provider import choose_provider
from orchestrator.process import ProcessId


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment whose lock is held: a session, and whether it was running before.

    Attributes:
        insist: a failed restore is not followed by a cold start.
    """

    session: Session
    resumed: bool
    reaper: ReaperClient
    launch: Launch | None
    require_restore: bool = False


@asynccontextmanager
async def open_environment(request: Request, bus: EventBus, deadline: Deadline) -> AsyncIterator[Environment]:
    """Lock the environment and prepare it; in the block `bring_up` makes it run.

    Leaves of killed commands are reclaimed first. On the way out the machines
    stay; whoever wants them gone calls `close_down` inside the block.

    Raises:
        LockedError, HostError, ImageError: it cannot even begin.
    """
    env_paths = EnvironmentPaths.of(request.name)
    with hold(env_paths.lock, request.name, request.command):
        previous = await reclaim_previous(env_paths, bus)
        if previous is not None:
            _same_topology(previous, request)
            # Another suite may be run on what is up; everything else is the same.
            previous = replace(previous, topology=request.topology)
            previous.run_folder.mkdir(parents=True, exist_ok=True)  # its machines write there
            _tell_unfinished(env_paths, bus)
            run_folder = new_run_folder(request.runs)
            env_paths.remember_run(run_folder)
            debug_log.write_to(run_folder)
            with JsonLinesLog(run_folder / "events.jsonl") as log:
                stop = bus.subscribe(log)
                marks = LogMarks.of(previous.run_folder)
                try:
                    _emit_run_started(request, run_folder, previous.provider, bus)
                    tell_again(previous, bus)
                    warn_of_expired(request.topology, bus)
                    message = f"{request.name} is up already; every service is proven again"
                    bus.emit(Note(level="info", message=message))
                    record = StateFile(env_paths.state, previous)
                    async with reaper_client() as group:
                        session = Session(env_paths, record, bus, run_folder)
                        try:
                            yield Environment(session, True, group, None)
                        finally:
                            await session.close()
                            try:
                                marks.copy_since(run_folder)
                            except OSError as error:
                                message = f"not all logs of the machines were copied: {error}"
                                bus.emit(Note(level="warning", message=message))
                finally:
                    stop()
            return
        env_paths.make()
        run_folder = new_run_folder(request.runs)
        env_paths.remember_run(run_folder)
        debug_log.write_to(run_folder)
        with JsonLinesLog(run_folder / "events.jsonl") as log:
            stop = bus.subscribe(log)
            try:
                async with reaper_client() as group:
                    try:
                        session, launch = await _prepare(request, env_paths, run_folder, bus, deadline)
                    except BaseException as error:
                        await take_down(env_paths, None, bus)  # nothing was started: its folders
                        if isinstance(error, OrchestratorError):
                            emit_failure(error, bus)
                            finish(bus, request.name, "error", error.exit_code, deadline)
                        raise
                    try:
                        yield Environment(session, False, group, launch, request.start == "warm")
                    finally:
                        await session.close()
            finally:
                stop()


async def _prepare(
    request: Request, env_paths: EnvironmentPaths, run_folder: Path, bus: EventBus, deadline: Deadline
) -> tuple[Session, Launch]:
    topology = request.topology
    provider = choose_provider(request.provider, topology)
    _emit_run_started(request, run_folder, provider.value, bus)
    warn_of_expired(topology, bus)
    planned = await plan(request, provider, bus, deadline)
    images, accelerator = planned.images, planned.accelerator
    snapshot = choose(request.name, planned.inputs, request.start, bus)
    clone = snapshot is not None and is_clone(snapshot, env_paths) and not request.savable
    admit(topology.machines.values(), [env_paths.workshop, run_folder], shared=clone)
    ram = None if clone else choose_ram_backing(topology, env_paths, bus)
    cache = ImageCache()
    for image in images.values():
        cache.pin(image.path, env_paths.folder)
    me = ProcessId.of(os.getpid())
    assert me is not None
    user_key = make_user_key(env_paths.user_key, f"orchestrator-{request.name}")
    record = StateFile(
        env_paths.state,
        EnvironmentState(
            name=request.name,
            topology=topology,
            run_folder=run_folder,
            phase="starting",
            owner=me,
            command=request.command,
            started=wall_clock(),
            provider=provider.value,
            accelerator=accelerator.name,
            factor=accelerator.factor,
            inputs=planned.inputs,
        ),
    )
    launch = Launch(images, user_key, request.inherited, request.kernel_parameters, ram=ram, snapshot=snapshot)
    return Session(env_paths, record, bus), launch


async def bring_up(environment: Environment, deadline: Deadline) -> None:
    """Start or join the machines, start and prove the services; return when all is up.

    Raises:
        MachineError, ServiceError, TimeLimit: with the evidence. The machines are
            left as they are, and recorded as failed.
    """
    session, launch = environment.session, environment.launch
    restored = False
    try:
        async with deadline.enforce():
            if launch is None:
                await session.run_watched(session.resume(deadline))
            else:
                restored = await begin(
                    session, launch, environment.reaper, deadline, require_restore=environment.require_restore
                )
    except BaseException as error:
        session.record.change(phase="failed")
        if isinstance(error, OrchestratorError):
            raise over_limit(error, deadline) from error
        raise
    write_ssh_files(session.paths, session.record.state.machines)
    session.record.change(phase="ready")
    session.bus.emit(RunReady(session.paths.name, elapsed=round(deadline.elapsed, 3), restored=restored))
    if launch is not None and not restored:
        try:
            await session.run_watched(save_healthy(session, deadline))
        except ServiceError:
            session.record.change(phase="failed")
            raise


def over_limit(error: OrchestratorError, deadline: Deadline) -> OrchestratorError:
    """The error, or that the limit of the whole command is over where that is its real cause."""
    if isinstance(error, TimeLimit) or not deadline.expired:
        return error
    limit = TimeLimit(
        f"time limit of {deadline} reached",
        why=f"{error.what}\n{error.why}".strip(),
        where=error.where,
        hint=error.hint,
        evidence=error.evidence,
    )
    limit.subject = error.subject
    return limit


def emit_failure(error: OrchestratorError, bus: EventBus) -> None:
    """The error as an event; it then need not be shown again."""
    error.shown = True
    bus.emit(Failure.of(error))


def finish(bus: EventBus, name: str, outcome: RunOutcome, exit_code: int, deadline: Deadline) -> None:
    """The last event of a run."""
    bus.emit(RunFinished(name, outcome=outcome, exit_code=exit_code, elapsed=round(deadline.elapsed, 3)))


async def close_down(environment: Environment) -> None:
    """Take everything down, inside the block of `opened`."""
    session = environment.session
    await session.close()
    unpin_images(session.paths, session.record.state)
    await take_down(session.paths, session.record.state, session.bus)


async def reclaim_previous(env_paths: EnvironmentPaths, bus: EventBus) -> EnvironmentState | None:
    """The state of a living environment; the remains of a dead one are removed and reported.

    Call it with the lock held.
    """
    try:
        previous = read_state(env_paths.state)
    except HostError as error:
        bus.emit(Note(level="warning", message=f"{error.brief}; everything of it is removed"))
        _tell_unfinished(env_paths, bus)
        await take_down(env_paths, None, bus)
        return None
    if previous is None:
        _tell_unfinished(env_paths, bus)
        if orphans(env_paths):
            await take_down(env_paths, None, bus)
        return None
    machines = previous.machines
    whole = set(machines) == set(previous.topology.machines) and all(m.process.alive for m in machines.values())
    if whole and all(m.host_key for m in machines.values()):
        return previous
    gone = [name for name, machine in machines.items() if not machine.process.alive]
    reason = f"machines no longer run: {', '.join(gone)}" if gone else "it never came up"
    bus.emit(
        Note(
            level="warning",
            message=f"what is left of environment {env_paths.name} ({previous.command}, {reason}) is removed",
            run_folder=str(previous.run_folder),  # its reports may not have been written
        )
    )
    if env_paths.unfinished_run != previous.run_folder:
        _tell_unfinished(env_paths, bus)
    unpin_images(env_paths, previous)
    await take_down(env_paths, previous, bus)
    return None


def _tell_unfinished(env_paths: EnvironmentPaths, bus: EventBus) -> None:
    folder = env_paths.unfinished_run
    if folder is not None:
        message = f"a command that was killed left the run folder {folder.name} without reports; they are written"
        bus.emit(Note(level="warning", message=message, run_folder=str(folder)))


def unpin_images(env_paths: EnvironmentPaths, state: EnvironmentState) -> None:
    cache = ImageCache()
    for path in {machine.image for machine in state.machines.values()}:
        cache.unpin(Path(path), env_paths.folder)


def _same_topology(previous: EnvironmentState, request: Request) -> None:
    # The suite and what is accepted may be others, and so may the file that tells them.
    was, wanted = (replace(one, suite=None, accept=(), path=Path()) for one in (previous.topology, request.topology))
    if was != wanted:
        raise HostError(
            f"environment {request.name} runs with another topology",
            why=f"it was started by `{previous.command}` (variant {previous.topology.variant}); "
            "the file, the variant or --app changed since",
            hint=f"orchestrator -n {request.name} down, or another --name",
        )


def _emit_run_started(request: Request, run_folder: Path, provider: str, bus: EventBus) -> None:
    topology = request.topology
    bus.emit(
        RunStarted(
            request.name,
            format=FORMAT,
            command=request.command,
            run_id=run_folder.name,
            run_folder=str(run_folder),
            variant=topology.variant,
            provider=provider,
            topology=str(topology.path),
            machines=tuple(PlannedMachine(m.name, m.image, m.cpus, m.memory) for m in topology.machines.values()),
            services=tuple(
                PlannedService(s.name, s.machine, s.kind.value, s.unit, tuple(d.service for d in s.depends_on))
                for s in topology.services.values()
            ),
            version=orchestrator.__version__,
        )
    )
