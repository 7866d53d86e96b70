"""The QMP monitor against a fake QEMU on a real UNIX socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_qemu import CLOSE, GARBAGE, SILENT, FakeServer, Handler, Refused
from qemu.qmp import QMPClient
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.vm.qmp import connect, event_summary, parse_usernet

USERNET = """Hub -1 (orch-user):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]   31       127.0.0.1 40022       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]  14       127.0.0.1 37061       10.0.2.15    80     0     0
  TCP[HOST_FORWARD]  13       127.0.0.1 34529       10.0.2.15    22     0     0
  UDP[25 sec]        16       10.0.2.15 55555         1.1.1.1    53     0     0
"""


def refuse(_: object) -> object:
    raise Refused("not now")


def fake(path: Path, *, greeting: object = True, **handlers: Handler) -> FakeServer:
    return FakeServer(path / "qmp", {name.replace("_", "-"): h for name, h in handlers.items()}, greeting=greeting)


def test_commands_and_their_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = fake(
            tmp_path,
            query_status=lambda _: {"status": "running", "running": True},
            human_monitor_command=lambda a: USERNET if a == {"command-line": "info usernet"} else "",
            screendump=lambda a: server.content_to(str(a["filename"]), str(a["format"]).encode()),
        )
        async with server.serving():
            monitor = await connect("server", server.path, Deadline.after(5))
            assert await monitor.run_state() == "running"
            assert await monitor.forwarded_ports() == {22: 34529, 80: 37061}
            await monitor.screenshot(tmp_path / "shot.png")
            assert (tmp_path / "shot.png").read_bytes() == b"png"
            await monitor.close()
            await monitor.close()
        assert server.log == [
            "qmp_capabilities",
            "query-status",
            "human-monitor-command",
            "add-fd",
            "screendump",
            "remove-fd",
        ]

    run_simulated(scenario())


def test_a_refusal_is_told_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = fake(tmp_path, stop=refuse, cont=lambda _: {})
        async with server.serving():
            monitor = await connect("server", server.path, Deadline.after(5))
            with pytest.raises(MachineError, match="QEMU of machine server refused stop") as caught:
                await monitor.execute("stop")
            assert caught.value.why == "not now"
            assert await monitor.execute("cont") == {}
            await monitor.close()

    run_simulated(scenario())


def test_no_answer_ends_at_the_deadline_and_a_late_one_is_dropped(tmp_path: Path) -> None:
    async def scenario() -> None:
        release = asyncio.Event()

        async def late(_: object) -> object:
            await release.wait()
            return {"late": True}

        server = fake(tmp_path, stop=late, cont=lambda _: {"own": True})
        async with server.serving():
            monitor = await connect("server", server.path, Deadline.after(5))
            deadline = Deadline.after(0.2)
            with pytest.raises(MachineError, match=r"did not answer stop within 0\.2 s"):
                await monitor.execute("stop", deadline=deadline)
            assert 0.2 <= deadline.elapsed < 0.6
            release.set()
            assert await monitor.execute("cont", deadline=Deadline.after(2)) == {"own": True}
            await monitor.close()

    run_simulated(scenario())


@pytest.mark.parametrize("ending", [CLOSE, GARBAGE], ids=["closed", "garbage"])
def test_a_connection_lost_in_the_middle(tmp_path: Path, ending: object) -> None:
    async def scenario() -> None:
        server = fake(tmp_path, quit=lambda _: ending)
        async with server.serving():
            monitor = await connect("server", server.path, Deadline.after(5))
            deadline = Deadline.after(5)
            for _ in range(2):  # the second finds a connection that is already gone
                with pytest.raises(MachineError, match="QMP connection to machine server is lost"):
                    await monitor.execute("quit", deadline=deadline)
            assert deadline.elapsed < 1
            await monitor.close()

    run_simulated(scenario())


def test_a_socket_that_never_appears(tmp_path: Path) -> None:
    deadline = Deadline.after(0.2)
    with pytest.raises(MachineError, match="does not answer on its QMP socket") as caught:
        run_simulated(connect("server", tmp_path / "qmp", deadline))
    assert "No such file" in caught.value.why
    assert caught.value.where == (str(tmp_path / "qmp"),)
    assert deadline.elapsed < 0.6


def test_a_connection_that_ends_as_it_is_made_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """qemu.qmp asserts then, instead of raising its own error."""
    real, failed = QMPClient.connect, list[int]()

    async def connect_once_in_vain(self: QMPClient, *words: Any, **options: Any) -> None:
        if not failed:
            failed.append(1)
            raise AssertionError
        await real(self, *words, **options)

    async def scenario() -> None:
        monkeypatch.setattr(QMPClient, "connect", connect_once_in_vain)
        async with FakeServer(tmp_path / "qmp", {}).serving():
            monitor = await connect("server", tmp_path / "qmp", Deadline.after(5))
            assert failed
            await monitor.close()

    run_simulated(scenario())


def test_a_socket_that_appears_later_is_found_quickly(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = fake(tmp_path)
        connected = asyncio.Event()

        async def appear() -> float:
            await asyncio.sleep(0.15)
            async with server.serving():
                appeared = Deadline.after(5)
                await connected.wait()  # a server that goes while the client still greets is another test
                return appeared.elapsed

        async def reach() -> None:
            monitor = await connect("server", server.path, Deadline.after(5))
            connected.set()
            await monitor.close()

        async with asyncio.TaskGroup() as group:
            delay = group.create_task(appear())
            group.create_task(reach())
        assert delay.result() < 0.15

    run_simulated(scenario())


def test_a_stopped_qemu_is_not_said_to_have_no_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = fake(tmp_path, greeting=False)
        async with server.serving():
            deadline = Deadline.after(0.2)
            with pytest.raises(MachineError) as caught:
                await connect("server", server.path, deadline)
            assert deadline.elapsed < 0.6
            assert "no greeting" in caught.value.why

    run_simulated(scenario())


def test_something_else_on_the_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = fake(tmp_path, greeting=GARBAGE)
        async with server.serving():
            with pytest.raises(MachineError, match="does not answer on its QMP socket") as caught:
                await connect("server", server.path, Deadline.after(0.3))
            assert caught.value.why not in ("", "the socket does not exist")
            assert server.connections > 1

    run_simulated(scenario())


def test_no_event_is_lost_between_entering_the_block_and_reading(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = fake(tmp_path, query_status=lambda _: {"status": "running"}, stop=lambda _: SILENT)
        async with server.serving():
            monitor = await connect("server", server.path, Deadline.after(5))
            async with monitor.events() as events:
                server.event("VSERPORT_CHANGE", id="orch-agent", open=True)
                server.event("GUEST_PANICKED", action="pause")
                await monitor.run_state()  # read past both
                seen = [event_summary(await events.get()) for _ in range(2)]
            assert seen == [
                ("VSERPORT_CHANGE", {"id": "orch-agent", "open": True}),
                ("GUEST_PANICKED", {"action": "pause"}),
            ]
            await monitor.close()

    run_simulated(scenario())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (USERNET, {22: 34529, 80: 37061}),
        ("", {}),
        ("TCP[HOST_FORWARD]  14  127.0.0.1", {}),
        ("Hub 0 (#net036):\n", {}),
    ],
)
def test_parse_usernet(text: str, expected: dict[int, int]) -> None:
    assert parse_usernet(text) == expected
