"""The other side never answers: every wait ends at its limit, with an error that names what was waited for."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_qemu import SILENT, FakeServer, Handler, run_async
from simulated_time import run_simulated
from topology_parts import network

from orchestrator.deadline import Deadline, completes_before
from orchestrator.errors import OrchestratorError
from orchestrator.guest import sshd
from orchestrator.guest.agent import Agent
from orchestrator.guest.lacks import Lacks
from orchestrator.guest.ssh import SshTarget
from orchestrator.guest.ssh import connect as connect_ssh
from orchestrator.guest.sshd import SshdWait, listening_host_key
from orchestrator.images.cache import ImageCache
from orchestrator.net.networks import NetworkPaths, start_switch
from orchestrator.process import run
from orchestrator.process_id import ProcessId
from orchestrator.process_lines import stream_lines
from orchestrator.snapshots import restore, save
from orchestrator.topology.model import NetworkKind
from orchestrator.vm import qmp
from orchestrator.vm.qmp import Monitor

LIMIT = 0.3
SLACK = 10.0  # seconds more on a busy host


class Mute(dict[str, Handler]):
    """Handlers of a server that takes every command and never answers one it does not have."""

    def __missing__(self, _: str) -> Handler:
        return lambda _: SILENT


Scenario = Callable[[Path, Deadline], Coroutine[Any, Any, object]]


@asynccontextmanager
async def monitor(folder: Path, **handlers: Handler) -> AsyncIterator[Monitor]:
    known = {name if name == "migrate_cancel" else name.replace("_", "-"): h for name, h in handlers.items()}
    async with FakeServer(folder / "qmp", Mute(known)).serving():
        connected = await qmp.connect("server", folder / "qmp", Deadline.after(5))
        yield connected
        await connected.close()


@asynccontextmanager
async def agent(folder: Path) -> AsyncIterator[Agent]:
    """One that was there when it was connected, and then says nothing."""
    handlers = Mute({"guest-sync": lambda arguments: arguments["id"]})
    async with FakeServer(folder / "agent", handlers, greeting=False).serving():
        found = Agent("server", folder / "agent")
        await found.connect(Deadline.after(5))
        yield found
        await found.close()


async def qmp_without_greeting(folder: Path, limit: Deadline) -> None:
    async with FakeServer(folder / "qmp", Mute(), greeting=False).serving():
        await qmp.connect("server", folder / "qmp", limit)


async def qmp_not_there(folder: Path, limit: Deadline) -> None:
    await qmp.connect("server", folder / "qmp", limit)


async def agent_without_answer(folder: Path, limit: Deadline) -> None:
    async with FakeServer(folder / "agent", Mute(), greeting=False).serving():
        await Agent("server", folder / "agent").connect(limit)


async def agent_not_there(folder: Path, limit: Deadline) -> None:
    await Agent("server", folder / "agent").connect(limit)


def of_monitor(work: Callable[[Monitor, Path, Deadline], Coroutine[Any, Any, object]], **handlers: Handler) -> Scenario:
    async def scenario(folder: Path, limit: Deadline) -> None:
        (folder / "state").write_bytes(b"QEVM")
        async with monitor(folder, **handlers) as connected:
            await work(connected, folder, limit)

    return scenario


def of_agent(work: Callable[[Agent, Deadline], Coroutine[Any, Any, object]]) -> Scenario:
    async def scenario(folder: Path, limit: Deadline) -> None:
        async with agent(folder) as connected:
            await work(connected, limit)

    return scenario


async def ssh(target_port: int, limit: Deadline) -> None:
    await connect_ssh(SshTarget("server", target_port, b"", Path("/none")), limit)


async def ssh_without_banner(_: Path, limit: Deadline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await ssh(listener.getsockname()[1], limit)


async def ssh_without_key_exchange(_: Path, limit: Deadline) -> None:
    async def banner(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-silent\r\n")

    server = await asyncio.start_server(banner, "127.0.0.1", 0)
    async with server:
        await ssh(server.sockets[0].getsockname()[1], limit)


async def save_one(connected: Monitor, folder: Path, limit: Deadline) -> None:
    for name in ("ram", "disk", "serial", "journal"):
        (folder / name).write_bytes(b"x")
    (folder / "to").mkdir()
    files = [folder / name for name in ("ram", "disk")]
    source = save.Source("server", connected, *files, "/image", "key", folder / "serial", folder / "journal")
    await save.save_machines([source], folder / "to", limit)


async def switch(folder: Path, limit: Deadline) -> None:
    paths = NetworkPaths(folder, folder)
    try:
        await start_switch(network("lan", NetworkKind.VDE), paths, limit)
    finally:
        for line in (folder / "pid").read_text().split():
            started = ProcessId.of(int(line))
            if started is not None:
                await started.end(0.2)


async def image_lock(folder: Path, limit: Deadline) -> None:
    cache = ImageCache(folder)

    async def build(_: Path) -> None:
        await asyncio.sleep(60)

    async def obtain(deadline: Deadline) -> None:
        await cache.obtain("server", "base", "k" * 16, build, waiting=lambda *_: None, deadline=deadline)

    holder = asyncio.create_task(obtain(Deadline.after(60)))
    try:
        await asyncio.sleep(0.1)
        await obtain(limit)
    finally:
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)


SCENARIOS: dict[str, tuple[Scenario, str]] = {
    "QMP: no socket": (qmp_not_there, "QEMU of machine server does not answer on its QMP socket"),
    "QMP: no greeting": (qmp_without_greeting, "QEMU of machine server does not answer on its QMP socket"),
    "QMP: a command": (
        of_monitor(lambda m, _, limit: m.execute("stop", deadline=limit)),
        "QEMU of machine server did not answer stop",
    ),
    "QMP: its state": (of_monitor(lambda m, *_: m.run_state()), "did not answer query-status"),
    "QMP: its ports": (of_monitor(lambda m, *_: m.forwarded_ports()), "did not answer human-monitor-command"),
    "QMP: a screenshot": (of_monitor(lambda m, folder, _: m.screenshot(folder / "s.png")), "did not answer screendump"),
    "QMP: saving": (of_monitor(save_one), "QEMU of machine server did not answer"),
    "QMP: saving, the migration never ends": (
        of_monitor(
            save_one,
            migrate_set_capabilities=lambda _: {},
            migrate_set_parameters=lambda _: {},
            stop=lambda _: {},
            cont=lambda _: {},
            migrate=lambda _: {},
            migrate_cancel=lambda _: {},
            query_migrate=lambda _: {"status": "active"},
            query_status=lambda _: {"status": "running"},
        ),
        "QEMU did not save machine server",
    ),
    "QMP: loading": (of_monitor(lambda m, folder, limit: restore.load(m, folder / "state", limit)), "did not answer"),
    "QMP: going on": (of_monitor(lambda m, *_: save.cont(m)), "QEMU of machine server did not answer"),
    "agent: no socket": (agent_not_there, "the guest agent of machine server does not answer"),
    "agent: no answer": (agent_without_answer, "the guest agent of machine server does not answer"),
    "agent: a call": (of_agent(lambda a, limit: a.call("guest-ping", deadline=limit)), "machine server"),
    "agent: a command": (of_agent(lambda a, limit: a.exec(["true"], deadline=limit)), "machine server"),
    "agent: reading": (of_agent(lambda a, limit: a.read_file("/x", deadline=limit)), "machine server"),
    "agent: writing": (of_agent(lambda a, limit: a.write_file("/x", b"x", deadline=limit)), "machine server"),
    "agent: the clock": (of_agent(restore.set_clock), "machine server"),
    "agent: new keys": (of_agent(lambda a, limit: restore.authorize(a, "key", limit)), "machine server"),
    "agent: a host key": (of_agent(restore.exchange_host_key), "machine server"),
    "agent: an sshd that listens": (
        of_agent(
            lambda a, limit: listening_host_key(
                a, SshdWait(asyncio.Event(), 22, 0.05, limit, Lacks(a.machine)), deadline=Deadline.after(60)
            )
        ),
        "machine server",
    ),
    "SSH: no banner": (ssh_without_banner, "machine server does not accept SSH"),
    "SSH: no key exchange": (ssh_without_key_exchange, "machine server does not accept SSH"),
    "host: a command": (lambda _, limit: run(["sleep", "60"], deadline=limit), "sleep did not end within"),
    "host: a long command": (
        lambda _, limit: stream_lines(["sleep", "60"], lambda _: None, deadline=limit, grace=0.2),
        "time limit",
    ),
    "host: a switch": (switch, "the switch of network lan did not start"),
    "host: another builder": (image_lock, "image server-base-kkkkkkkkkkkkkkkk is being built by"),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_wait_ends_and_says_what_for(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "COMMAND_LIMIT", LIMIT)
    monkeypatch.setattr(save, "CANCEL_LIMIT", LIMIT)
    monkeypatch.setattr(save, "CONT_TRIES", 2)
    monkeypatch.setattr(sshd, "QUESTION_LEAST", LIMIT)
    program = tmp_path / "bin" / "vde_switch"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho $$ >> {tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    scenario, words = SCENARIOS[name]

    async def bounded() -> float:
        limit = Deadline.after(LIMIT)
        with pytest.raises(OrchestratorError) as caught:
            await scenario(tmp_path, limit)
        assert words in caught.value.what
        return limit.elapsed

    # What has processes of its own needs the real clock. Cleaning up may ask once more, each time under its own limit.
    play = run_async if name.startswith("host: ") else run_simulated
    assert play(bounded()) < LIMIT * 8 + SLACK


def test_what_may_be_late_is_waited_for_no_longer() -> None:
    async def scenario() -> float:
        limit = Deadline.after(LIMIT)
        assert not await completes_before(asyncio.Event().wait, limit)
        return limit.elapsed

    assert run_simulated(scenario()) < LIMIT + SLACK
