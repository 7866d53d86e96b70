"""The agent's client against a fake guest agent that runs commands on this host."""

from __future__ import annotations

import asyncio
import pwd
import subprocess
from pathlib import Path

import pytest
from fake_qemu import CLOSE, GARBAGE, SILENT, FakeGuest, FakeServer, Refused
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest import agent as module
from orchestrator.guest.agent import Agent, GuestResult, as_user, become
from orchestrator.process_id import ProcessId


async def connected(guest: FakeServer) -> Agent:
    agent = Agent("server", guest.path)
    await agent.connect(Deadline.after(10))
    return agent


def test_lost_syncs_are_repeated_until_one_is_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeGuest(tmp_path / "agent", lost=2).serving() as guest:
            agent = await connected(guest)
            assert guest.log == ["guest-sync"] * 3
            assert guest.connections == 3
            assert await agent.call("guest-ping", deadline=Deadline.after(5)) == {}
            await agent.close()

    run_simulated(scenario())


def test_a_stale_sync_answer_is_not_taken(tmp_path: Path) -> None:
    async def scenario() -> None:
        tokens: list[int] = []

        def sync(arguments: dict[str, int]) -> object:
            tokens.append(arguments["id"])
            return tokens[0] if len(tokens) == 2 else SILENT if len(tokens) == 1 else arguments["id"]

        guest = FakeServer(tmp_path / "agent", {"guest-sync": sync}, greeting=False)
        async with guest.serving():
            await (await connected(guest)).close()
        assert len(tokens) == 3
        assert len(set(tokens)) == 3

    run_simulated(scenario())


def test_no_agent_is_an_error_at_the_deadline(tmp_path: Path) -> None:
    async def scenario() -> None:
        deadline = Deadline.after(0.7)
        with pytest.raises(MachineError, match="guest agent of machine server does not answer"):
            await Agent("server", tmp_path / "none").connect(deadline)
        async with FakeGuest(tmp_path / "agent", lost=1000).serving() as guest:
            with pytest.raises(MachineError, match="does not answer"):
                await Agent("server", guest.path).connect(Deadline.after(0.7))
        assert deadline.elapsed < 2.2

    run_simulated(scenario())


def test_exec_gives_code_and_both_outputs_byte_by_byte(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeGuest(tmp_path / "agent").serving() as guest:
            agent = await connected(guest)
            every_byte = bytes(range(256)) * 100
            done = await agent.exec(
                ["sh", "-c", "cat; echo trouble >&2; exit 7"], stdin=every_byte, deadline=Deadline.after(5)
            )
            assert done == GuestResult(7, every_byte, b"trouble\n")
            assert done.complaint == "trouble"
            words = ["printf", "%s|", "a b", "$HOME", "*", "'", '"', "", "x\ny"]
            assert (await agent.exec(words, deadline=Deadline.after(5))).stdout == b"a b|$HOME|*|'|\"||x\ny|"
            assert (await agent.exec(["sh", "-c", "kill -TERM $$"], deadline=Deadline.after(5))).code == 128 + 15
            missing = await agent.exec(["no-such-program"], deadline=Deadline.after(5))
            assert missing.code == 127
            assert "no-such-program" in missing.complaint
            await agent.close()

    run_simulated(scenario())


def test_news_hurries_a_command_that_is_looked_at_rarely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_FIRST", 5.0)

    async def scenario() -> None:
        ended = asyncio.Event()
        async with FakeGuest(tmp_path / "agent").serving() as guest:
            agent = await connected(guest)
            begun = Deadline.after(10)
            asyncio.get_running_loop().call_later(0.3, ended.set)
            result = await agent.exec(["sh", "-c", "sleep 0.2; echo done"], deadline=begun, wakeup=ended.wait)
            assert result.text == "done"
            assert 0.25 < begun.elapsed < 2
            await agent.close()

    run_simulated(scenario())


def test_exec_past_the_deadline_ends_the_command_in_the_guest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeGuest(tmp_path / "agent").serving() as guest:
            agent = await connected(guest)
            deadline = Deadline.after(0.3)
            with pytest.raises(MachineError, match=r"did not end within 0\.3 s") as caught:
                await agent.exec(["sleep", "600"], deadline=deadline)
            assert deadline.elapsed < 1
            assert caught.value.evidence == ("sleep 600",)
            process, output = next(iter(guest.running.values()))
            await output
            assert process.returncode == -9
            assert ProcessId.of(process.pid) is None
            # and the agent is of use afterwards
            assert (await agent.exec(["echo", "on"], deadline=Deadline.after(5))).text == "on"
            await agent.close()

    run_simulated(scenario())


def test_a_refused_command_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        def refuse(_: object) -> object:
            raise Refused("Command guest-exec has been disabled")

        guest = FakeGuest(tmp_path / "agent")
        guest.handlers["guest-exec"] = refuse
        async with guest.serving():
            agent = await connected(guest)
            with pytest.raises(GuestCommandError, match="refused guest-exec") as caught:
                await agent.exec(["true"], deadline=Deadline.after(5))
            assert "disabled" in caught.value.why
            await agent.close()

    run_simulated(scenario())


def test_a_connection_lost_and_an_agent_that_hangs(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = FakeGuest(tmp_path / "agent")
        guest.handlers |= {
            "guest-fsfreeze-freeze": lambda _: SILENT,
            "guest-shutdown": lambda _: CLOSE,
            "guest-info": lambda _: GARBAGE,
        }
        async with guest.serving():
            agent = await connected(guest)
            limit = Deadline.after(0.2)
            with pytest.raises(MachineError, match="did not answer guest-fsfreeze-freeze"):
                await agent.call("guest-fsfreeze-freeze", deadline=limit)
            assert limit.elapsed < 0.6
            await agent.close()
            for fatal in ("guest-shutdown", "guest-info"):
                agent = await connected(guest)
                for _ in range(2):  # the second finds the connection gone
                    with pytest.raises(MachineError, match="connection to the guest agent of machine server is lost"):
                        await agent.call(fatal, deadline=Deadline.after(5))
                await agent.close()

    run_simulated(scenario())


def test_commands_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeGuest(tmp_path / "agent").serving() as guest:
            agent = await connected(guest)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(agent.exec(["sh", "-c", f"echo {n}; exit {n}"], deadline=Deadline.after(10)))
                    for n in range(8)
                ]
            assert [(t.result().code, t.result().text) for t in tasks] == [(n, str(n)) for n in range(8)]
            await agent.close()

    run_simulated(scenario())


def test_a_file_is_replaced_byte_by_byte_and_no_program_is_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = FakeGuest(tmp_path / "agent")
        guest.root = tmp_path
        file = tmp_path / "key"
        file.write_bytes(b"something longer than what follows" * 10_000)
        file.chmod(0o600)
        async with guest.serving():
            agent = await connected(guest)
            for content in (bytes(range(256)) * 100, b"", b"short"):
                await agent.write_file("/key", content, deadline=Deadline.after(5))
                assert file.read_bytes() == content
            assert file.stat().st_mode & 0o777 == 0o600
            assert await agent.read_file("/key", deadline=Deadline.after(5)) == b"short"
            assert guest.commands == []
            assert guest.files == {}, "every handle was given back"
            await agent.close()

    run_simulated(scenario())


def test_a_file_that_was_written_in_part_is_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = FakeGuest(tmp_path / "agent")
        guest.root = tmp_path
        guest.handlers["guest-file-write"] = lambda _: {"count": 3, "eof": False}
        async with guest.serving():
            agent = await connected(guest)
            with pytest.raises(GuestCommandError, match="only a part of /key in machine server could be written"):
                await agent.write_file("/key", b"four", deadline=Deadline.after(5))
            assert guest.files == {}, "the handle was given back"
            await agent.close()

    run_simulated(scenario())


def test_a_refused_write_gives_the_handle_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        def refuse(_: object) -> object:
            raise Refused("failed to write to file: No space left on device")

        guest = FakeGuest(tmp_path / "agent")
        guest.root = tmp_path
        guest.handlers["guest-file-write"] = refuse
        async with guest.serving():
            agent = await connected(guest)
            with pytest.raises(GuestCommandError, match="refused guest-file-write") as caught:
                await agent.write_file("/key", b"four", deadline=Deadline.after(5))
            assert "No space left" in caught.value.why
            assert guest.files == {}
            await agent.close()

    run_simulated(scenario())


@pytest.mark.parametrize("path", ["/no/such/folder/key", "/a-folder"])
def test_a_file_that_cannot_be_written_says_why(tmp_path: Path, path: str) -> None:
    async def scenario() -> None:
        guest = FakeGuest(tmp_path / "agent")
        guest.root = tmp_path
        (tmp_path / "a-folder").mkdir()
        async with guest.serving():
            agent = await connected(guest)
            with pytest.raises(GuestCommandError, match="refused guest-file-open") as caught:
                await agent.write_file(path, b"x", deadline=Deadline.after(5))
            assert path in caught.value.why
            assert (await agent.exec(["echo", "on"], deadline=Deadline.after(5))).text == "on"
            await agent.close()

    run_simulated(scenario())


def test_other_users_commands_are_whole_words() -> None:
    assert as_user(["a b", "$x"], "root") == ["a b", "$x"]
    assert as_user(["psql", "-c", "select 1"], "postgres") == [
        "chroot",
        "--userspec=postgres",
        "--skip-chdir",
        "/",
        "psql",
        "-c",
        "select 1",
    ]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_home_and_names_of_a_user_come_from_the_passwd(shell: str) -> None:
    for entry in pwd.getpwall():
        for user in (entry.pw_name, str(entry.pw_uid)):
            script = f"{become(user)}; exec env"
            done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
            found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
            assert (found["HOME"], found["USER"], found["LOGNAME"]) == (
                entry.pw_dir,
                entry.pw_name,
                entry.pw_name,
            ), user


@pytest.mark.parametrize("user", ["$(touch it)", "a;touch it", "-x", "a b", "..", "4294967294", "no-such-user"])
def test_a_name_that_is_no_user_runs_nothing(user: str, tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", f'{become(user)}; test -n "$HOME"'], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_texts_of_a_result() -> None:
    assert GuestResult(0, b"caf\xc3\xa9\xff\n\n", b"").text == "café\ufffd"
    assert GuestResult(1, b"out\n", b"").complaint == "out"
