"""READY is true: units of a real systemd that live a second, restart always, fork and exit, or have another name.

All of them on the shared machines, at the same time, each with a supervisor of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator

import pytest
from host import Host

from orchestrator.deadline import Deadline, pause
from orchestrator.environment.lock import hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.session import Session
from orchestrator.environment.state import StateFile, read_state
from orchestrator.errors import ServiceError
from orchestrator.events import Event, EventBus
from orchestrator.events.services import CheckResulted, ServiceStateChanged, UnitAlias
from orchestrator.services.channels import Channels
from orchestrator.services.checks.file import FileCheck
from orchestrator.services.graph import ServiceGraph
from orchestrator.services.reach import Reach
from orchestrator.services.supervisor import ServiceSupervisor
from orchestrator.tasks import run_all
from orchestrator.topology.model import Check, Dependency, Service, ServiceKind

# What the unit does, and what else stands in its section [Service]. Its check is that its file exists.
UNITS = {
    "one-second": ("touch /run/e2e/$N; exec sleep 1", ""),
    "always": ("touch /run/e2e/$N; exec sleep 1", "Restart=always\\nRestartSec=100ms"),
    "forks": ("sleep 30 & touch /run/e2e/$N; exit 0", "KillMode=process"),
    "exec": ("touch /run/e2e/$N; sleep 1; exit 3", "Type=exec"),
    "stays": ("touch /run/e2e/$N; exec sleep infinity", "Restart=always\\nRestartSec=100ms"),
}
ENDS = {
    "one-second": r"^e2e-one-second.service ended \(result success\)$",
    "always": r"^e2e-always.service ended and is being restarted by systemd \(result success, restart \d+\)$",
    "forks": r"^e2e-forks.service ended \(result success\)$",
    "exec": r"^e2e-exec.service failed \(exit status 3\)$",
}
UNIT_FOLDER = "/run/systemd/system"


@pytest.fixture
def units(vm: Host) -> Iterator[None]:
    """The units in the server, one of them under a second name; nothing of them is left."""
    made = "".join(
        f"printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nEnvironment=N={name}\\n"
        f'ExecStart=/bin/sh -c "{what}"\\n{more}\\n\' > {UNIT_FOLDER}/e2e-{name}.service\n'
        for name, (what, more) in UNITS.items()
    )
    vm.guest(
        "server",
        f"mkdir -p /run/e2e\n{made}ln -s e2e-stays.service {UNIT_FOLDER}/e2e-alias.service\nsystemctl daemon-reload",
    )
    try:
        yield
    finally:
        vm.guest(
            "server",
            f"systemctl kill -s KILL 'e2e-*.service'; systemctl stop 'e2e-*.service'\n"
            f"rm -rf /run/e2e {UNIT_FOLDER}/e2e-*; systemctl daemon-reload\n"
            "systemctl reset-failed 'e2e-*.service' 2>/dev/null; true",
        )


Work = Callable[[Callable[[dict[str, Service]], tuple[ServiceSupervisor, list[Event]]], Session], Awaitable[None]]


def drive(vm: Host, monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    """Do something with the machines, as a command does that joined them."""
    for name, value in vm.environment().items():
        if name.startswith(("ORCH_", "XDG_")):
            monkeypatch.setenv(name, value)
    paths = EnvironmentPaths.of("vm-tests")

    async def scenario() -> None:
        with hold(paths.lock, paths.name, "a test"):
            state = read_state(paths.state)
            assert state is not None
            session = Session(paths, StateFile(paths.state, state), EventBus())

            def gate(services: dict[str, Service]) -> tuple[ServiceSupervisor, list[Event]]:
                bus, events = EventBus(), list[Event]()
                bus.subscribe(events.append)
                channels = {name: Channels(m.ready_agent, m.ssh) for name, m in session.machines.items()}
                journals = {name: m.qemu.watcher.journal for name, m in session.machines.items()}
                graph = ServiceGraph.fresh(services)
                return ServiceSupervisor(graph, Reach(channels, journals, bus, session.scale, "orchestrator")), events

            try:
                await session.reattach(Deadline.after(60))
                await session.run_watched(work(gate, session))  # type: ignore[arg-type]
            finally:
                await session.close()

    asyncio.run(scenario())


def service(name: str, unit: str = "") -> Service:
    there = Check("there", "server", FileCheck(f"/run/e2e/{name}"), timeout=10.0)
    return Service(name, "server", ServiceKind.DAEMON, unit or f"e2e-{name}.service", (), (there,), 20.0)


def never(name: str) -> Service:
    """What holds READY, while the life of the other ends."""
    check = Check("never", "server", FileCheck("/run/e2e/never"), timeout=10.0)
    return Service("never", "server", ServiceKind.TARGET, None, (Dependency(name),), (check,), 600.0)


@pytest.mark.usefixtures("units")
def test_lives_too_short_for_ready(vm: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(
        gate: Callable[[dict[str, Service]], tuple[ServiceSupervisor, list[Event]]], session: Session
    ) -> None:
        async def one(name: str) -> None:
            keeper, events = gate({name: service(name), "never": never(name)})
            limit = Deadline.after(120)
            with pytest.raises(ServiceError, match=rf"service {name} on machine server (failed|ended)") as caught:
                await keeper.bring_up(limit)
            assert re.search(ENDS[name], caught.value.why), caught.value.why
            assert limit.elapsed < 100, "nobody waited for a limit"
            states = [e.state for e in events if isinstance(e, ServiceStateChanged) and e.subject == name]
            assert states[-1] == "failed"

        await run_all(*(one(name) for name in ENDS))

    drive(vm, monkeypatch, work)


@pytest.mark.usefixtures("units")
def test_what_changed_since_its_proof(vm: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarted on purpose: proven again. Restarted by systemd: told. Under an alias: the same."""

    async def work(
        gate: Callable[[dict[str, Service]], tuple[ServiceSupervisor, list[Event]]], session: Session
    ) -> None:
        limit = Deadline.after(120)
        keeper, events = gate({"stays": service("stays", "e2e-alias.service")})
        agent = await session.machines["server"].ready_agent()

        def checked() -> int:
            return len([e for e in events if isinstance(e, CheckResulted) and e.ok])

        async def look() -> None:
            keeper._verifier.expire()
            await keeper.verify_still_healthy(limit)

        await keeper.bring_up(limit)
        await look()
        assert keeper.graph.good
        told = [(e.subject, e.id) for e in events if isinstance(e, UnitAlias)]
        assert told == [("e2e-alias.service", "e2e-stays.service")]
        before = checked()
        await look()
        assert checked() == before, "the same run: nothing is proven again"
        await agent.exec(["systemctl", "restart", "e2e-stays.service"], deadline=limit)
        await look()
        assert checked() == before + 1
        await agent.exec(["systemctl", "kill", "-s", "KILL", "e2e-stays.service"], deadline=limit)
        while (await agent.exec(["systemctl", "is-active", "e2e-stays.service"], deadline=limit)).code == 0:
            shown = await agent.exec(["systemctl", "show", "-P", "NRestarts", "e2e-stays.service"], deadline=limit)
            if shown.text == "1":
                break
        with pytest.raises(ServiceError, match="stays on machine server failed after it was proven") as caught:
            await look()
        assert "e2e-stays.service ended and is being restarted by systemd" in caught.value.why
        # What it was restarted before is no trouble of the next command, which finds it running.
        again, _ = gate({"stays": service("stays", "e2e-alias.service")})
        while (await agent.exec(["systemctl", "is-active", "e2e-stays.service"], deadline=limit)).code != 0:
            await pause(0.1, limit)
        assert await again.verify_all(limit)
        await again.verify_still_healthy(limit)
        assert again.restarts == {"stays": 1}

    drive(vm, monkeypatch, work)
