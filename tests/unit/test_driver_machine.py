"""The calls of a machine, on this host: a real sshd stands in for the guest's, the rest of the machine is a fake."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from copy_scene import with_ssh
from real_sshd import Server, sshd

from orchestrator.driver import shell
from orchestrator.driver.background import BackgroundTasks
from orchestrator.driver.machine import Machine
from orchestrator.driver.results import CommandFailed, WaitFailed
from orchestrator.errors import MachineError, UsageError
from orchestrator.guest.ssh import Ssh
from orchestrator.timescale import TimeScale


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as found:
        yield found


class Agent:
    """Answers systemctl as it is told."""

    def __init__(self) -> None:
        self.answers: list[str] = []

    async def exec(self, command: list[str], **_: object) -> Any:
        text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return SimpleNamespace(code=0, text=text, complaint="")


class Power:
    """A machine that is up."""

    booted = True

    def __init__(self, live: Any) -> None:
        self.live = live
        self.state = SimpleNamespace(value="up")

    async def wait_up(self) -> Any:
        return self.live

    async def guard(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await work

    def require_on(self) -> None:
        pass


Work = Callable[[Machine, Agent], Awaitable[None]]


def driven(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Work) -> None:
    """Do work with a machine that is this host."""
    monkeypatch.setattr(shell, "FOLDER", str(tmp_path / "orchestrator"))
    user = getpass.getuser()

    async def scenario(ssh: Ssh) -> None:
        async def kept() -> Ssh:
            return ssh

        agent, tasks = Agent(), BackgroundTasks()
        await tasks.open()
        paths = SimpleNamespace(serial_log=tmp_path / "serial.log", journal=tmp_path / "journal.jsonl", logs=tmp_path)
        journal = SimpleNamespace(wait_for_entry=lambda _: asyncio.sleep(3600))
        qemu = SimpleNamespace(watcher=SimpleNamespace(journal=journal))
        live: Any = SimpleNamespace(ssh=kept, paths=paths, agent=agent, qemu=qemu, name="server")
        session = SimpleNamespace(machines={"server": live}, paths=SimpleNamespace(name="env"), run_folder=tmp_path)
        starter = SimpleNamespace(bringing_up=False, raise_for_services=lambda: None)
        fleet: Any = SimpleNamespace(
            powers={"server": Power(live)}, session=session, scale=TimeScale(1), begin=tasks.begin, starter=starter
        )
        try:
            await work(Machine(fleet, "server"), agent)
        finally:
            await tasks.close()

    assert user
    with_ssh(server, scenario)


@pytest.fixture
def drive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Work], None]:
    return lambda work: driven(server, tmp_path, monkeypatch, work)


Drive = Callable[[Work], None]


def test_commands(drive: Drive) -> None:
    async def work(machine: Machine, _: Agent) -> None:
        assert await machine.succeed("pwd", "echo $((1 + 1))") == "/tmp\n2\n"
        assert await machine.execute("echo out; exit 5") == (5, "out\n")
        assert await machine.fail("false | true") == ""
        assert await machine.execute("sleep 100", timeout=0.2) == (124, "")
        result = await machine.run(["cat"], stdin="text", environment={"A": "1"}, cwd="/")
        assert (result.rc, result.out, result.err) == (0, "text", "")
        pieces: list[bytes] = []
        await machine.run("echo a; echo b >&2", on_stdout=pieces.append)
        assert b"".join(pieces) == b"a\n"
        with pytest.raises(CommandFailed, match="exit code 3") as caught:
            await machine.succeed("echo out; echo complaint >&2; exit 3")
        assert (caught.value.result.out, caught.value.result.err) == ("out\n", "complaint\n")
        with pytest.raises(CommandFailed, match="succeeded"):
            await machine.fail("true")
        with pytest.raises(CommandFailed, match="exit code 4"):
            await machine.run("exit 4", check=True)

    drive(work)


def test_commands_that_go_on_and_how_many(drive: Drive) -> None:
    async def work(machine: Machine, _: Agent) -> None:
        processes = [await machine.spawn("echo begun; exec sleep 1000") for _ in range(8)]
        assert all(process.running for process in processes)
        with pytest.raises(WaitFailed, match="still runs"):
            await processes[0].wait(0.05)
        with pytest.raises(MachineError, match="8 commands run in server at once"):
            await machine.run(["true"], timeout=0.1)
        assert [(await process.kill()).rc for process in processes] == [137] * 8
        short = await machine.spawn(["echo", "quick"])
        assert (await short.wait()).out == "quick\n" and not short.running and short.output == "quick\n"

    drive(work)


def test_waits(drive: Drive, tmp_path: Path) -> None:
    async def work(machine: Machine, _: Agent) -> None:
        place = tmp_path / "later"
        counted = f"n=$(($(cat {place} 2> /dev/null || echo 0) + 1)); echo $n > {place}; echo $n; [ $n -ge 3 ]"
        assert await machine.wait_until_succeeds(counted) == "3\n"
        await machine.wait_until_fails(f"rm {place} && false")
        with pytest.raises(WaitFailed, match="`false` still fails"):
            await machine.wait_until_succeeds("false", timeout=0.3)
        await machine.wait_for_file(f"{tmp_path}/*")
        with pytest.raises(WaitFailed, match="does not exist"):
            await machine.wait_for_file(f"{tmp_path}/none", timeout=0.3)

        async def greet(_: object, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            await machine.wait_for_open_port(str(port), "127.0.0.1")
            assert await machine.wait_for_http(f"http://127.0.0.1:{port}/", contains="hell") == "hello"
            with pytest.raises(WaitFailed, match="not answered as wanted"):
                await machine.wait_for_http(f"http://127.0.0.1:{port}/", status=404, timeout=0.3)
        await machine.wait_for_closed_port(port, "127.0.0.1")
        with pytest.raises(WaitFailed, match="takes no connection"):
            await machine.wait_for_open_port(port, "127.0.0.1", timeout=0.3)
        for wrong in (0, "x", 70000):
            with pytest.raises(UsageError, match="is no port"):
                await machine.wait_for_open_port(wrong)
        with pytest.raises(UsageError, match="is no URL"):
            await machine.wait_for_http("nonsense")
        with pytest.raises(WaitFailed, match="the query is not answered"):
            await machine.wait_for_sql("select 1", user=getpass.getuser(), database="nowhere", timeout=0.3)

    drive(work)


def shown(active: str, load: str = "loaded", result: str = "success") -> str:
    return f"Id=web.service\nLoadState={load}\nActiveState={active}\nSubState=x\nResult={result}"


def test_units(drive: Drive) -> None:
    async def work(machine: Machine, agent: Agent) -> None:
        agent.answers = [shown("inactive"), "1 web.service start waiting", shown("activating"), shown("active")]
        await machine.wait_for_unit("web", timeout=30)
        agent.answers = [shown("failed", result="exit-code")]
        with pytest.raises(WaitFailed, match=r"unit web failed \(result exit-code\) in server"):
            await machine.wait_for_unit("web")
        agent.answers = [shown("inactive", load="not-found"), "", shown("inactive", load="not-found")]
        with pytest.raises(WaitFailed, match="unit web is not-found"):
            await machine.wait_for_unit("web")
        agent.answers = [shown("inactive"), "No jobs running.", shown("inactive")]
        with pytest.raises(WaitFailed, match="there is no job that would start it"):
            await machine.wait_for_unit("web")
        agent.answers = [shown("activating")]
        with pytest.raises(WaitFailed, match="unit web is activating after"):
            await machine.wait_for_unit("web", timeout=0.3)
        agent.answers = [shown("active")]
        await machine.require_unit_state("web")
        assert (await machine.get_unit_info("web"))["Id"] == "web.service"
        with pytest.raises(WaitFailed, match="is active, and must be failed"):
            await machine.require_unit_state("web", "failed")

    drive(work)


def test_files(drive: Drive, tmp_path: Path) -> None:
    async def work(machine: Machine, _: Agent) -> None:
        folder = machine.path(f"{tmp_path}/guest")
        await folder.mkdir()
        await (folder / "a").write_text("text")
        assert await (folder / "a").read_text() == "text" and await folder.names() == ["a"]
        assert await folder.is_dir() and not await (folder / "b").exists()
        assert (await machine.copy_from_machine(str(folder)) / "a").read_text() == "text"
        await machine.copy_from_host(tmp_path / "guest", f"{tmp_path}/new/place")
        assert (tmp_path / "new/place/a").read_text() == "text"
        await machine.copy_to_machine(f"{folder}/a", machine, f"{tmp_path}/third")
        assert (tmp_path / "third").read_text() == "text"
        await (folder / "a").unlink()
        assert await folder.names() == []
        with pytest.raises(UsageError, match="does not exist on this host"):
            await machine.copy_from_host(tmp_path / "none", "/tmp/x")

    drive(work)


def test_console_and_journal(drive: Drive, tmp_path: Path) -> None:
    async def work(machine: Machine, _: Agent) -> None:
        (tmp_path / "serial.log").write_bytes(b"one\r\ntwo\r\nthree\r\n")
        assert await machine.wait_for_console_text("o.e\ntw") == "one\ntw"
        assert await machine.wait_for_console_text("o\nth") == "o\nth", "what was matched is consumed"
        with pytest.raises(WaitFailed, match="shows no /one/"):
            await machine.wait_for_console_text("one", timeout=0.2)
        with pytest.raises(UsageError, match="is no regular expression"):
            await machine.wait_for_console_text("(")
        with (tmp_path / "serial.log").open("ab") as log:
            log.write(b"no UTF-8: \xff\xfe\r\nfour\r\nfive\r\n")
        assert await machine.wait_for_console_text("8: ..\nfo") == "8: \ufffd\ufffd\nfo"
        assert await machine.wait_for_console_text("^ur") == "ur", "bytes that are no UTF-8 count as they are"
        line = '{{"__REALTIME_TIMESTAMP":"{}000000","MESSAGE":"{}","_SYSTEMD_UNIT":"{}","SYSLOG_IDENTIFIER":"x"}}\n'
        lines = [line.format(1, "first", "a.service"), line.format(2, "second", "b.service")]
        (tmp_path / "journal.jsonl").write_text("".join(lines))
        assert [entry.message for entry in machine.journal(unit="b")] == ["second"]
        assert [str(entry) for entry in machine.journal(since=0.5)] == ["a.service: first", "b.service: second"]
        shown = "one\ntwo\nthree\nno UTF-8: \ufffd\ufffd\nfour\nfive\n"
        assert machine.console_text() == shown and machine.booted and machine.state == "up"

    drive(work)
