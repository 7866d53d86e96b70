"""The way of `up`: open the environment, plan, start, prove.

1. `open_environment` takes the lock, and either joins what runs or plans a start: images, accelerator, snapshot.
2. `bring_up` starts or joins the machines and services (`orchestrator.environment.startup`), which are proven when it
   returns, records READY, and saves the healthy state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.deadline import Deadline
from orchestrator.debug import debug_log
from orchestrator.environment.admission import admit
from orchestrator.environment.decision import Inputs
from orchestrator.environment.fault_visit import tell_what_is_on
from orchestrator.environment.joined import LogMarks, changed_layers, tell_again, warn_of_kept
from orchestrator.environment.launch import Launch
from orchestrator.environment.lock import hold
from orchestrator.environment.memory import choose_ram_backing
from orchestrator.environment.paths import EnvironmentPaths, new_run_folder
from orchestrator.environment.plan import Request, plan
from orchestrator.environment.reaper_client import ReaperClient, reaper_client
from orchestrator.environment.reclaim import note_unfinished_run, reclaim_previous, unpin_images
from orchestrator.environment.redeploy import join_changed, other_inputs, wanted_of
from orchestrator.environment.revisions import tell_revisions
from orchestrator.environment.run_events import emit_failure, emit_run_started, finish, over_limit
from orchestrator.environment.session import Session
from orchestrator.environment.ssh_files import write_ssh_files
from orchestrator.environment.start_again import join_and_start
from orchestrator.environment.startup import join
from orchestrator.environment.state import EnvironmentState, StateFile
from orchestrator.environment.switched_off import ended_machines
from orchestrator.environment.teardown import take_down
from orchestrator.environment.verdict import warn_of_expired
from orchestrator.environment.warm import begin, choose, is_clone, save_healthy
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.events import EventBus, JsonLinesLog, wall_clock
from orchestrator.events.run import Note, RunReady
from orchestrator.guest.keys import make_user_key
from orchestrator.images.cache import ImageCache
from orchestrator.images.provider import choose_provider
from orchestrator.process_id import ProcessId
from orchestrator.topology.stages import HEALTHY, Stage


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment whose lock is held.

    Attributes:
        reaper: kills what is launched when this program dies.
        launch: inputs of the start; None: it was running before, and is joined.
    """

    session: Session
    reaper: ReaperClient
    launch: Launch | None
    request: Request

    @property
    def resumed(self) -> bool:
        """Whether it was running before."""
        return self.launch is None

    @property
    def worth_keeping(self) -> bool:
        """Whether there is a machine to look at, and a record by which later commands find it."""
        record = self.session.record
        return record.kept and record.state.reachable


@asynccontextmanager
async def open_environment(request: Request, bus: EventBus, deadline: Deadline) -> AsyncIterator[Environment]:
    """Lock the environment and prepare it; in the block `bring_up` makes it run.

    What killed commands left is removed first. On the way out the machines stay;
    whoever wants them gone calls `close_down` inside the block.

    Raises:
        LockedError, HostError, ImageError: it cannot even begin.
    """
    env_paths = EnvironmentPaths.of(request.name)
    async with AsyncExitStack() as stack:
        stack.enter_context(hold(env_paths.lock, request.name, request.command))
        previous = await reclaim_previous(env_paths, bus)
        if previous is None:
            yield await _open_new(stack, request, env_paths, bus, deadline)
        else:
            yield await _open_running(stack, request, env_paths, previous, bus)


async def _open_running(
    stack: AsyncExitStack, request: Request, env_paths: EnvironmentPaths, previous: EnvironmentState, bus: EventBus
) -> Environment:
    """What runs already, with a run folder of its own for this command."""
    _same_topology(previous, request)
    # Another suite may be run on what is up; everything else is the same.
    state = replace(previous, topology=request.topology)
    state.run_folder.mkdir(parents=True, exist_ok=True)  # its machines write there
    note_unfinished_run(env_paths, bus)
    run_folder = _log_events(stack, request, env_paths, bus)
    marks = LogMarks.of(state.run_folder)
    emit_run_started(request, run_folder, state.provider, bus)
    tell_again(state, bus)
    warn_of_expired(request.topology, bus)
    bus.emit(Note(level="info", message=f"{request.name} is up already; every service is proven again"))
    tell_what_is_on(env_paths, bus)
    reaper = await stack.enter_async_context(reaper_client())
    stack.callback(_copy_logs, marks, run_folder, bus)
    session = Session(env_paths, StateFile(env_paths.state, state), bus, run_folder)
    stack.push_async_callback(session.close)
    return Environment(session, reaper, None, request)


async def _open_new(
    stack: AsyncExitStack, request: Request, env_paths: EnvironmentPaths, bus: EventBus, deadline: Deadline
) -> Environment:
    """An environment of which nothing runs: planned, admitted, recorded."""
    env_paths.make()
    run_folder = _log_events(stack, request, env_paths, bus)
    reaper = await stack.enter_async_context(reaper_client())
    try:
        environment = await _prepare(request, env_paths, run_folder, reaper, bus, deadline)
    except BaseException as error:
        await take_down(env_paths, None, bus)  # nothing was started: its folders
        if isinstance(error, OrchestratorError):
            emit_failure(error, bus)
            finish(bus, request.name, "error", error.exit_code, deadline)
        raise
    stack.push_async_callback(environment.session.close)
    return environment


def _log_events(stack: AsyncExitStack, request: Request, env_paths: EnvironmentPaths, bus: EventBus) -> Path:
    """A new run folder, in which all events are logged from now on."""
    run_folder = new_run_folder(request.runs)
    env_paths.remember_run(run_folder)
    debug_log.write_to(run_folder)
    log = stack.enter_context(JsonLinesLog(run_folder / "events.jsonl"))
    stack.callback(bus.subscribe(log))
    return run_folder


def _copy_logs(marks: LogMarks, run_folder: Path, bus: EventBus) -> None:
    try:
        marks.copy_since(run_folder)
    except OSError as error:
        bus.emit(Note(level="warning", message=f"not all logs of the machines were copied: {error}"))


async def _prepare(
    request: Request,
    env_paths: EnvironmentPaths,
    run_folder: Path,
    reaper: ReaperClient,
    bus: EventBus,
    deadline: Deadline,
) -> Environment:
    topology = request.topology
    provider = choose_provider(request.provider, topology)
    emit_run_started(request, run_folder, provider, bus)
    warn_of_expired(topology, bus)
    planned = await plan(request, provider, bus, deadline)
    await tell_revisions(topology, planned.inputs, bus)
    choice = choose(request.name, Inputs(topology, planned.inputs), request.start, bus)
    snapshot = None if choice is None else choice.snapshot
    clone = snapshot is not None and is_clone(snapshot, env_paths) and not request.savable
    admit(topology.machines.values(), [env_paths.workshop, run_folder], shared=clone)
    ram = None if clone else choose_ram_backing(topology, env_paths, bus)
    cache = ImageCache()
    for path in (*(image.path for image in planned.images.values()), *planned.layer_files):
        cache.pin(path, env_paths.folder)
    user_key = make_user_key(env_paths.user_key, f"orchestrator-{request.name}")
    state = EnvironmentState(
        name=request.name,
        topology=topology,
        run_folder=run_folder,
        phase="starting",
        owner=ProcessId.own(),
        command=request.command,
        started=wall_clock(),
        provider=provider,
        accelerator=planned.accelerator.name,
        factor=planned.accelerator.factor,
        inputs=planned.inputs,
        with_vnc=planned.with_vnc,
    )
    launch = Launch(
        planned.images,
        user_key,
        reaper,
        request.inherited,
        request.kernel_parameters,
        request.ports,
        ram=ram,
        snapshot=snapshot,
        stage=None if choice is None else choice.stage,
        layers={name: {disk.name: disk.path for disk in disks} for name, disks in planned.layers.items()},
    )
    session = Session(env_paths, StateFile(env_paths.state, state), bus)
    return Environment(session, reaper, launch, request)


async def bring_up(environment: Environment, deadline: Deadline) -> None:
    """Start or join the machines, start and prove the services; return when all is up.

    Raises:
        MachineError, ServiceError, TimeLimit: with the evidence. The machines are
            left as they are, and recorded as failed.
    """
    session, launch = environment.session, environment.launch
    stage = await _start(environment, deadline)
    restored = stage is not None
    if launch is None:  # what was joined may have got other layers
        await tell_revisions(session.record.state.topology, session.record.state.inputs, session.bus)
    write_ssh_files(session.paths, session.record.state.machines)
    session.record.change(phase="ready")
    session.bus.emit(RunReady(session.paths.name, elapsed=round(deadline.elapsed, 3), restored=restored))
    if launch is not None and (stage is None or stage.name != HEALTHY):
        try:
            await session.run_watched(save_healthy(session, deadline))
        except OrchestratorError:
            session.record.fail()
            raise


async def _start(environment: Environment, deadline: Deadline) -> Stage | None:
    """Start or join everything; the stage at which the machines were restored, if they were."""
    session, launch = environment.session, environment.launch
    try:
        async with deadline.enforce():
            if launch is None:
                await session.run_watched(await _joining(environment, deadline))
                return None
            return await begin(session, launch, deadline, require_restore=environment.request.start == "warm")
    except BaseException as error:
        session.record.fail()
        if isinstance(error, OrchestratorError):
            raise over_limit(error, deadline) from error
        raise


async def _joining(environment: Environment, deadline: Deadline) -> Coroutine[Any, Any, None]:
    """How what runs is joined: machines that are off are started, layers that changed are brought in."""
    session, request = environment.session, environment.request
    state, bus = session.record.state, session.bus
    off, changed = ended_machines(state), await changed_layers(state)
    if off:
        warn_of_kept(state, changed, "a machine of it is off", bus)
        return join_and_start(session, off, environment.reaper, deadline)
    if not changed:
        return join(session, deadline)
    planned = await plan(request, state.provider, bus, deadline)
    others = other_inputs(state.topology, state.inputs, planned.inputs)
    if others:
        warn_of_kept(state, changed, f"{', '.join(others)} changed too", bus)
        return join(session, deadline)
    return join_changed(session, wanted_of(state, planned), deadline)


@asynccontextmanager
async def closed_when_interrupted(
    environment: Environment, code: Callable[[], int], deadline: Deadline
) -> AsyncIterator[None]:
    """Take down what a cancelled block started, wherever it was cancelled. What was running before stays.

    Args:
        code: the exit code of the interrupted command, for the last event.
    """
    try:
        yield
    except asyncio.CancelledError:
        # Ctrl-C: nobody is there to look at half an environment.
        session = environment.session
        if not environment.resumed:
            await asyncio.shield(close_down(environment))
        finish(session.bus, session.paths.name, "interrupted", code(), deadline)
        raise


async def close_down(environment: Environment) -> None:
    """Take everything down, inside the block of `open_environment`."""
    session = environment.session
    await session.close()
    unpin_images(session.paths, session.record.state)
    await take_down(session.paths, session.record.state, session.bus)


def _same_topology(previous: EnvironmentState, request: Request) -> None:
    # The suite, its faults and what is accepted may be others, and so may the file that tells them.
    was, wanted = (
        replace(one, suite=None, waivers=(), faults={}, scenarios={}, path=Path())
        for one in (previous.topology, request.topology)
    )
    if was != wanted:
        raise HostError(
            f"environment {request.name} runs with another topology",
            why=f"it was started by `{previous.command}` (variant {previous.topology.variant}); "
            "the file, the variant, --layer or --app changed since",
            hint=f"orchestrator -n {request.name} down, or another --name",
        )
