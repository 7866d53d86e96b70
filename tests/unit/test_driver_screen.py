"""Screen, keys, cables and power of a machine, against a QEMU that is a fake and draws pictures."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_qemu import run_async
from PIL import Image

from orchestrator.driver import ocr
from orchestrator.driver.machine import Machine
from orchestrator.driver.power import PowerState
from orchestrator.driver.results import WaitFailed
from orchestrator.errors import GuestCommandError, HostError, MachineError, UsageError
from orchestrator.timescale import TimeScale

FORWARD = "  TCP[HOST_FORWARD]   3       127.0.0.1 {}       10.0.2.15    {}     0     0\n"


class Monitor:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.forwarded = FORWARD.format(2222, 22)
        self.shade = 0  # of the picture

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None, **_: object) -> Any:
        self.told.append([key["data"] for key in arguments["keys"]] if arguments and "keys" in arguments else command)
        if command == "set_link":
            self.told[-1] = arguments
        return {"status": "running"}

    async def hmp(self, line: str) -> str:
        if line.startswith("hostfwd_add") and ":1-" not in line:
            self.forwarded += FORWARD.format(40000, line.rpartition(":")[2])
        if line.startswith("hostfwd_remove"):
            self.forwarded = FORWARD.format(2222, 22)
        return self.forwarded if line == "info usernet" else ""

    async def screenshot(self, path: Path) -> None:
        Image.new("RGB", (40, 20), (self.shade, 0, 0)).save(path)


class Power:
    """A machine that is up, until it is told otherwise."""

    booted, state, error = True, PowerState.UP, None

    def __init__(self, monitor: Monitor, live: Any) -> None:
        self._monitor, self.live = monitor, live
        self.off = asyncio.Event()
        self.paused = False
        self.expected = False

    async def monitor(self) -> Monitor:
        return self._monitor

    async def wait_up(self) -> Any:
        return self.live

    async def guard(self, work: Any) -> Any:
        return await work

    def require_on(self) -> None:
        """It is on."""

    def expect_end(self) -> None:
        self.expected = True

    async def crash(self) -> None:
        self.state = PowerState.OFF
        self.off.set()


class Scene:
    """One machine."""

    def __init__(self, folder: Path) -> None:
        self.monitor = Monitor()
        self.tty = ["loading", "login: "]

        async def execute(command: list[str], **_: object) -> Any:
            text = self.tty.pop(0) if len(self.tty) > 1 else self.tty[0]
            return SimpleNamespace(code=0 if "9" not in command else 1, text=text, complaint="no such device")

        links = [SimpleNamespace(network="lan", address="192.0.2.7")]
        paths = SimpleNamespace(console=folder / "console", serial_log=folder / "serial.log")
        live: Any = SimpleNamespace(
            monitor=self.monitor,
            agent=SimpleNamespace(exec=execute),
            machine=SimpleNamespace(links=links),
            paths=paths,
            ports={22: 2222, 80: 8080},
        )
        self.power = Power(self.monitor, live)
        place = SimpleNamespace(folder=folder, name="env")
        session = SimpleNamespace(machines={"server": live}, run_folder=folder, paths=place)
        self.started: list[str] = []

        async def start(name: str) -> None:
            self.started.append(name)

        fleet: Any = SimpleNamespace(
            powers={"server": self.power},
            session=session,
            scale=TimeScale(1),
            start=start,
            boots_again=self.started.append,
        )
        self.machine = Machine(fleet, "server")


def test_keys_are_pressed_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        await scene.machine.send_key("ctrl-alt-f2", delay=0)
        await scene.machine.send_chars("aB\n", delay=0)
        assert scene.monitor.told == [["ctrl", "alt", "f2"], ["a"], ["shift", "b"], ["ret"]]
        with pytest.raises(UsageError, match="no key of the US layout"):
            await scene.machine.send_chars("aä")
        assert len(scene.monitor.told) == 4, "nothing is typed of a text that cannot be typed"

    run_async(scenario())


def test_texts_of_terminals(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        assert await scene.machine.wait_until_tty_matches("1", "log.n") == "login"
        with pytest.raises(WaitFailed, match=r"tty1 of server shows no /never/ after"):
            await scene.machine.wait_until_tty_matches(1, "never", timeout=0.3)
        with pytest.raises(GuestCommandError, match="tty9 of server cannot be read"):
            await scene.machine.tty_text(9)

    run_async(scenario())


def test_text_of_the_display_is_read_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def engine() -> ocr.Reader:
        def text(image: Image.Image) -> str:
            assert image.size == (120, 60), "enlarged three times"
            read.append(image.getpixel((0, 0)))  # type: ignore[arg-type]
            return "Welcome" if read[-1] > 200 else "black"

        return text

    monkeypatch.setattr(ocr, "engine", engine)

    async def scenario() -> None:
        scene = Scene(tmp_path)
        assert await scene.machine.screen_text() == "black"
        read.clear()
        assert await scene.machine.wait_for_text("Wel") == "Welcome", "the inverted picture has it"
        assert len(read) == 2
        read.clear()
        with pytest.raises(WaitFailed, match="the display of server shows no /nothing/"):
            await scene.machine.wait_for_text("nothing", timeout=1.3)
        assert len(read) == 2, "the same picture is read once, both ways"
        picture = await scene.machine.screenshot("shot")
        assert picture == tmp_path / "artifacts/shot.png" and picture.read_bytes()[:4] == b"\x89PNG"

    run_async(scenario())


def test_without_an_engine_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "_ENGINES", {"none": lambda: None})
    ocr.engine.cache_clear()
    assert ocr.engine_name() == ""
    with pytest.raises(HostError, match="cannot be read on this host") as caught:
        ocr.engine()
    assert "orchestrator[ocr]" in caught.value.hint
    ocr.engine.cache_clear()


def test_the_program_tesseract_reads_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\n[ \"$3\" = --psm ] || exit 3\ncat > /dev/null\necho 'text of it'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    read = ocr._program()
    assert read is not None and read(Image.new("L", (9, 9))) == "text of it\n"
    program.write_text("#!/bin/sh\necho 'no data' >&2\nexit 1\n")
    with pytest.raises(HostError, match="tesseract could not read"):
        read(Image.new("L", (9, 9)))


def test_the_serial_console_takes_input_of_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene, got = Scene(tmp_path), asyncio.Queue[bytes]()

        async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await got.put(await reader.read())

        with pytest.raises(MachineError, match="cannot be reached"):
            await scene.machine.send_console("x")
        async with await asyncio.start_unix_server(serve, tmp_path / "console"):
            await scene.machine.send_console("root\n")
            assert await got.get() == b"root\n"

    run_async(scenario())


def test_the_console_is_not_left_before_the_guest_has_taken_all(tmp_path: Path) -> None:
    """QEMU takes a few bytes at a time, and forgets the others when the connection ends."""

    async def scenario() -> None:
        loop, scene, text = asyncio.get_running_loop(), Scene(tmp_path), "echo a line of more than sixteen bytes\n"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "console"))
            server.listen()
            server.setblocking(False)
            typing = loop.create_task(scene.machine.send_console(text))
            guest, _ = await loop.sock_accept(server)
            with guest:
                guest.setblocking(False)
                got = await loop.sock_recv(guest, 8)
                assert not (await asyncio.wait([typing], timeout=0.2))[0]
                while len(got) < len(text):
                    got += await loop.sock_recv(guest, 8)
                await typing
                assert got == text.encode()

    run_async(scenario())


def test_cables_and_ports(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        machine = scene.machine
        await machine.block()
        await machine.unblock("lan")
        assert [told["up"] for told in scene.monitor.told] == [False, True]
        with pytest.raises(UsageError, match="not in network 'wan'"):
            await machine.block("wan")
        forward = await machine.forward_port(8888)
        assert (forward.host_port, forward.guest_port) == (40000, 8888)
        await forward.close()
        with pytest.raises(UsageError, match="port 1 of this host cannot be forwarded"):
            await machine.forward_port(80, 1)
        assert machine.port(80) == 8080 and machine.address == "192.0.2.7"
        with pytest.raises(UsageError, match="port 81 of server is not forwarded"):
            machine.port(81)
        assert await machine.qmp("query-status") == {"status": "running"}
        assert "HOST_FORWARD" in await machine.monitor("info usernet")

    run_async(scenario())


def test_power(tmp_path: Path) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path)
        machine = scene.machine
        await machine.pause()
        assert scene.power.paused and scene.monitor.told == ["stop"]
        await machine.resume()
        assert not scene.power.paused
        await machine.press_reset()
        await machine.start()
        assert scene.started == ["server", "server"] and scene.monitor.told[-1] == "system_reset"
        await machine.wait_up()
        guest_seconds = 1.0  # the agent is a fake: nobody sleeps
        await machine.sleep(guest_seconds)
        with pytest.raises(WaitFailed, match="machine server is up after"):
            await machine.shutdown(timeout=0.2)
        assert scene.power.expected
        await machine.crash()
        await machine.wait_for_shutdown()
        await machine.shutdown()
        with pytest.raises(WaitFailed, match="was shut down, and not lost"):
            await machine.wait_until_lost()

    run_async(scenario())
