"""Keys of a real pseudo-terminal, and the command's first words without machines."""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_process import Cli
from fake_qemu import run_async

from orchestrator.cli.dev_keys import choose_machine, keys_of
from orchestrator.deadline import Deadline, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The user's side and the program's."""
    user, program = os.openpty()
    yield user, program
    for one in (user, program):
        os.close(one)


def test_each_key_is_told_at_once_and_the_terminal_is_as_before_afterwards(terminal: tuple[int, int]) -> None:
    user, program = terminal
    before = termios.tcgetattr(program)
    pressed: list[str] = []

    async def scenario() -> None:
        with keys_of(program, pressed.append):
            os.write(user, b"a")
            assert await wait_until(lambda: pressed == ["a"], Deadline.after(10))
            os.write(user, b"\x1b[A\x1bOPR")  # an arrow and F1 are no keys of ours
            assert await wait_until(lambda: "R" in pressed, Deadline.after(10))
            assert termios.tcgetattr(program)[3] & termios.ISIG, "Ctrl-C stays a signal"

    run_async(scenario())
    assert pressed == ["a", "R"]
    assert termios.tcgetattr(program) == before


def test_a_machine_is_chosen_by_its_number(terminal: tuple[int, int], capsys: pytest.CaptureFixture[str]) -> None:
    user, program = terminal
    os.write(user, b"2\n")
    assert choose_machine(["server", "client"], program) == "client"
    assert "shell in 1 server  2 client" in capsys.readouterr().err
    assert choose_machine(["server", "client"], program) is None, "Enter chooses none"
    assert choose_machine(["server"], program) == "server", "nothing is asked where there is one"


def test_a_wrong_topology_is_told_before_anything_is_started(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (tmp_path / "orchestrator.toml").write_text('name = "shop"\nmachines = 3\n')
    done = cli("dev")
    assert done.returncode == 2
    assert "machines" in done.stderr
    assert not (tmp_path / "state").exists()
