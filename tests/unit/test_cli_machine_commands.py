"""Commands on one machine: what QEMU is asked, what is printed, and one error for each mistake."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_process import Cli
from fake_qemu import FakeServer, Refused, run_async

from orchestrator.cli import forward, keys, link, power, screen, view
from orchestrator.cli.arguments import build_parser
from orchestrator.cli.pictures import KITTY_CHUNK, iterm, kitty, png_size, protocol_of
from orchestrator.driver.keys import KEYS, chord
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.environment.switched_off import machines_off, note_switched_off
from orchestrator.errors import HostError, MachineError, UsageError
from orchestrator.process_id import ProcessId

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (720).to_bytes(4, "big") + (400).to_bytes(4, "big") + b"\x08\x02"
USERNET = "  TCP[HOST_FORWARD]   3       127.0.0.1 {0}       10.0.2.15    {1}     0     0"


class Scene:
    """A recorded environment of two machines that run, and the QEMU of one of them."""

    def __init__(self, tmp_path: Path) -> None:
        self.cli = Cli(tmp_path)
        self.cli.record(alive=True)
        self.env_paths = EnvironmentPaths.of("tiny")
        self.paths = self.env_paths.machine("alpha", tmp_path / "runs")
        for folder in (self.paths.sockets, self.paths.logs, self.paths.work):
            folder.mkdir(parents=True, exist_ok=True)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.forwards = {2222: 22}
        self.status = "running"
        self.qemu = FakeServer(self.paths.qmp_side, {})
        answers: dict[str, Callable[[dict[str, Any]], object]] = {
            "query-status": lambda _: {"status": self.status},
            "screendump": lambda given: self.qemu.content_to(given["filename"], PNG) or {},
            "human-monitor-command": lambda given: self._monitor(given["command-line"]),
            **dict.fromkeys(("send-key", "set_link", "system_reset"), lambda _: {}),
            "stop": lambda _: self._become("paused"),
            "cont": lambda _: self._become("running"),
            "query-vnc-servers": lambda _: [],
        }
        self.qemu.handlers = {name: self._noted(name, answer) for name, answer in answers.items()}

    def _noted(self, name: str, answer: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
        def handle(given: dict[str, Any]) -> object:
            self.asked.append((name, given))
            return answer(given)

        return handle

    def _become(self, status: str) -> dict[str, Any]:
        self.status = status
        return {}

    def _monitor(self, line: str) -> str:
        words = line.split()
        if words[0] == "hostfwd_add":
            host, _, guest = words[1].removeprefix("tcp:127.0.0.1:").partition("-:")
            if int(host) == 80:
                return "could not set up host forwarding rule 'tcp:127.0.0.1:80-:8080'\r\n"
            self.forwards[int(host) or 40001] = int(guest)
            return ""
        if words[0] == "hostfwd_remove":
            del self.forwards[int(words[1].rpartition(":")[2])]
            return ""
        return "\r\n".join(USERNET.format(host, guest) for host, guest in self.forwards.items())

    def run(self, work: Callable[[argparse.Namespace], Awaitable[Any]], *words: str) -> Any:
        """A command's work, while QEMU answers."""
        arguments = build_parser().parse_args(["-n", "tiny", *words])

        async def scenario() -> Any:
            self.paths.qmp_side.unlink(missing_ok=True)
            async with self.qemu.serving():
                return await work(arguments)

        return run_async(scenario())

    @property
    def state(self) -> EnvironmentState:
        found = read_state(self.env_paths.state)
        assert found is not None
        return found

    def end_machines(self) -> None:
        """Their processes are no more."""
        data = json.loads(self.env_paths.state.read_text())
        for known in data["machines"].values():
            known["process"]["start_ticks"] += 1
        self.env_paths.state.write_text(json.dumps(data))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    short = tempfile.mkdtemp(prefix="omc-")  # names of sockets end at 107 bytes
    monkeypatch.setenv("XDG_RUNTIME_DIR", short)
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    for variable in ("TERM", "TERM_PROGRAM", "KITTY_WINDOW_ID", "TMUX", "STY"):
        monkeypatch.delenv(variable, raising=False)
    yield Scene(tmp_path)
    shutil.rmtree(short)


# ------------------------------------------------------------------ screen


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_a_picture_goes_to_a_pipe_as_it_is(scene: Scene, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    scene.run(screen._screen, "screen", "alpha")
    assert capfdbinary.readouterr().out == PNG


def test_a_terminal_without_pictures_gets_a_file(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_terminal(monkeypatch)
    scene.run(screen._screen, "screen", "alpha")
    assert capsys.readouterr().out == "alpha-screen.png\n"
    assert Path("alpha-screen.png").read_bytes() == PNG


def test_kitty_shows_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    on_terminal(monkeypatch)
    monkeypatch.setenv("TERM", "xterm-kitty")
    scene.run(screen._screen, "screen", "alpha")
    assert capfdbinary.readouterr().out == kitty(PNG)
    assert not Path("alpha-screen.png").exists()


def test_a_picture_in_a_file_of_ones_own(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.run(screen._screen, "screen", "alpha", "-o", "x.png", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found == {"machine": "alpha", "path": str(Path("x.png").absolute()), "width": 720, "height": 400}
    with pytest.raises(HostError, match="cannot be written"):
        scene.run(screen._screen, "screen", "alpha", "-o", "no/such/x.png")


@pytest.mark.parametrize(
    ("variables", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, kitty),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, kitty),
        ({"TERM_PROGRAM": "iTerm.app"}, iterm),
        ({"TERM_PROGRAM": "WezTerm"}, iterm),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM_PROGRAM": "vscode"}, None),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"}, None),
        ({}, None),
    ],
)
def test_which_terminals_show_pictures(variables: dict[str, str], protocol: object) -> None:
    assert protocol_of(variables) is protocol


def test_a_large_picture_comes_in_chunks() -> None:
    written = kitty(bytes(10_000))
    parts = written.rstrip(b"\n").split(b"\x1b\\")[:-1]
    assert [part.partition(b";")[0] for part in parts] == [
        b"\x1b_Ga=T,f=100,q=2,m=1",
        b"\x1b_Gq=2,m=1",
        b"\x1b_Gq=2,m=1",
        b"\x1b_Gq=2,m=0",
    ]
    assert max(len(part.partition(b";")[2]) for part in parts) == KITTY_CHUNK


def test_what_is_no_picture_is_told() -> None:
    assert png_size(PNG) == (720, 400)
    with pytest.raises(HostError, match="no PNG"):
        png_size(b"P6 720 400")


# ------------------------------------------------------------------ keys


def test_text_and_keys_are_pressed_in_order(scene: Scene) -> None:
    scene.run(press, "keys", "alpha", "--text", "aB", "ret", "ctrl-alt-F2")
    pressed = [[key["data"] for key in given["keys"]] for name, given in scene.asked if name == "send-key"]
    assert pressed == [["a"], ["shift", "b"], ["ret"], ["ctrl", "alt", "f2"]]


async def press(arguments: argparse.Namespace) -> None:
    strokes = [keys.keys_of(character) for character in arguments.text or ""]
    await keys._press(arguments, strokes + [chord(key) for key in arguments.keys])


def test_an_unknown_key_is_told_before_any_is_pressed(scene: Scene) -> None:
    done = scene.cli("keys", "alpha", "ret", "entre")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: 'entre' is not a key" in done.stderr
    assert "enter" in done.stderr
    assert scene.cli("keys", "alpha").returncode == 2
    assert "no key of the US layout gives 'ü'" in scene.cli("keys", "alpha", "--text", "ü").stderr


@pytest.mark.parametrize("key", ["ctrl-alt-nosuch", "", "0xzz", "a b"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(UsageError):
        chord(key)


def test_words_that_people_use() -> None:
    assert [chord(word) for word in ("Enter", "Ctrl-Alt-Delete", "-", "ctrl--", "PageUp", "0x1c")] == [
        ["ret"],
        ["ctrl", "alt", "delete"],
        ["minus"],
        ["ctrl", "minus"],
        ["pgup"],
        ["0x1c"],
    ]
    assert len(KEYS) == 161


# ------------------------------------------------------------------ forward


def test_a_forward_is_added_listed_and_ended(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.run(forward._forward, "forward", "alpha", "8080")
    assert capsys.readouterr().out == "40001\n"
    scene.run(forward._forward, "forward", "alpha", "8080", "--json")
    assert json.loads(capsys.readouterr().out) == {
        "machine": "alpha",
        "guest_port": 8080,
        "host_port": 40001,
        "kind": "added",
    }
    scene.run(forward._forward, "forward", "alpha", "--list")
    assert capsys.readouterr().out == "127.0.0.1:2222   alpha:22    ssh\n127.0.0.1:40001  alpha:8080  added\n"
    scene.run(forward._forward, "forward", "--remove", "alpha", "8080")
    assert scene.forwards == {2222: 22}


def test_forwards_that_cannot_be(scene: Scene) -> None:
    with pytest.raises(UsageError, match="port 80 of this host cannot be forwarded"):
        scene.run(forward._forward, "forward", "alpha", "8080", "--host-port", "80")
    with pytest.raises(UsageError, match="port 9 of alpha is not forwarded"):
        scene.run(forward._forward, "forward", "alpha", "9", "--remove")
    with pytest.raises(UsageError, match="stays"):
        scene.run(forward._forward, "forward", "alpha", "22", "--remove")
    for words in (["forward", "alpha"], ["forward", "alpha", "0"], ["forward", "alpha", "80", "--host-port", "65536"]):
        assert scene.cli(*words).returncode == 2


def test_options_may_stand_before_the_port(scene: Scene) -> None:
    found = build_parser().parse_args(["forward", "alpha", "--host-port", "81", "80"])
    assert (found.guest_port, found.host_port) == (80, 81)
    assert build_parser().parse_args(["keys", "alpha", "--text", "x", "ret", "-"]).keys == ["ret", "-"]
    done = scene.cli("forward", "alpha", "--host-port", "81", "http")
    assert (done.returncode, "'http' is not a port" in done.stderr) == (2, True)
    assert scene.cli("forward", "alpha", "80", "--json", "81").returncode == 2


# ------------------------------------------------------------------ link


def test_the_only_network_is_meant(scene: Scene) -> None:
    scene.run(link._set_link, "link", "down", "alpha")
    scene.run(link._set_link, "link", "up", "alpha", "lan")
    assert scene.asked == [
        ("set_link", {"name": "net-lan", "up": False}),
        ("set_link", {"name": "net-lan", "up": True}),
    ]
    with pytest.raises(UsageError, match="not in network 'wan'"):
        scene.run(link._set_link, "link", "down", "alpha", "wan")


# ------------------------------------------------------------------ power


def test_pause_resume_and_reset(scene: Scene) -> None:
    scene.run(power._switch, "power", "pause", "alpha")
    assert scene.status == "paused"
    with pytest.raises(MachineError, match="cannot shut down"):
        scene.run(power._switch, "power", "off", "alpha")
    scene.run(power._switch, "power", "resume", "alpha")
    assert scene.status == "running"
    scene.run(power._switch, "power", "reset", "alpha")
    assert scene.asked[-1] == ("system_reset", {})


def test_a_machine_that_was_switched_off_is_off_and_not_lost(scene: Scene) -> None:
    alpha = scene.state.machines["alpha"].process
    note_switched_off(scene.paths, ProcessId(alpha.pid, alpha.start_ticks + 1, alpha.boot_id), "shut down")
    assert machines_off(scene.env_paths, scene.state) == {}, "it is noted of another process"
    scene.end_machines()
    assert machines_off(scene.env_paths, scene.state) == {"alpha": "shut down"}
    told = scene.cli("exec", "alpha", "--", "true", XDG_RUNTIME_DIR=os.environ["XDG_RUNTIME_DIR"])
    assert told.returncode == 3
    assert "all machines of environment tiny are off" in told.stderr
    status = scene.cli("status")
    assert status.returncode == 3
    assert status.stdout.startswith("tiny: off (alpha was shut down; `orchestrator -n tiny power on alpha` starts it")
    assert "machine alpha          off\n" in status.stdout
    assert "machine beta           gone" in status.stdout
    assert scene.cli("power", "off", "alpha").stderr == "alpha is off already\n"
    assert scene.cli("down").returncode == 0


def test_a_guest_that_shut_itself_down_is_off(scene: Scene) -> None:
    scene.paths.serial_log.write_text("Linux version 6.12\n[ 12.3] reboot: Power down\n")
    assert machines_off(scene.env_paths, scene.state) == {}
    scene.end_machines()
    assert machines_off(scene.env_paths, scene.state) == {"alpha": "shut down by its guest"}


# ------------------------------------------------------------------ view, and what all have in common


def test_a_qemu_without_vnc_is_told(scene: Scene) -> None:
    with pytest.raises(HostError, match="has no VNC server"):
        scene.run(view._view, "view", "alpha")


@pytest.mark.parametrize(
    "words",
    [
        ["screen", "alpah"],
        ["keys", "alpah", "ret"],
        ["forward", "alpah", "80"],
        ["power", "off", "alpah"],
        ["power", "on", "alpah"],
        ["link", "up", "alpah"],
        ["view", "alpah"],
    ],
)
def test_a_wrong_machine_is_told_with_the_right_ones(scene: Scene, words: list[str]) -> None:
    done = scene.cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no machine is named 'alpah'" in done.stderr
    assert "machines are alpha, beta" in done.stderr


def test_a_refusal_of_qemu_is_an_error(scene: Scene) -> None:
    def refuse(_: object) -> object:
        raise Refused("no graphical console")

    scene.qemu.handlers["screendump"] = refuse
    with pytest.raises(MachineError, match="refused screendump"):
        scene.run(screen._screen, "screen", "alpha")
