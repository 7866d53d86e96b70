"""The faults of scripts/chaos: what is done, to whom, during which command, and how the command may end."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from host import RAM, Host, Running, free_space_mount  # tests/vm: the command line as users call it

NAME = "vm-tests"
APPEARS = 20.0  # seconds a process may take to be there


@dataclass
class Scene:
    """One trial: the host, the command under way (None when the environment is idle), and the dice."""

    host: Host
    dice: random.Random
    running: Running | None = None
    others: list[Running] = field(default_factory=list)
    undo: list[Callable[[], object]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.host.root / "state" / "environments" / NAME

    def pid_of(self, *words: str) -> int | None:
        """A process of ours whose command line has all words; None when the command ended before there was one."""
        end = time.monotonic() + APPEARS
        while time.monotonic() < end:
            for pid, line in self.host.processes().items():
                if all(word in line for word in words):
                    return pid
            if self.running is None or self.running.process.poll() is not None:
                return None
            time.sleep(0.02)
        return None

    def signal(self, number: signal.Signals, *words: str, resume: float = 0.0) -> None:
        """Send a signal to a process of ours; with ``resume`` it goes on after so many seconds."""
        pid = self.pid_of(*words)
        if pid is None:
            return
        try:
            os.kill(pid, number)
            if resume:
                time.sleep(resume)
                os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return
        if number is signal.SIGSTOP and not resume:
            self.undo.append(lambda: _quietly(pid, signal.SIGCONT))

    def guest(self, machine: str, script: str) -> None:
        """Start a script in a machine and go on: it may never answer."""
        self.others.append(self.host.start("exec", "--timeout", "30", machine, "--", "sh", "-c", script))
        time.sleep(1.5)

    def socket(self, name: str) -> None:
        """Remove a socket of a machine of this environment."""
        for path in self.host.runtime.rglob(name):
            path.unlink()


def _quietly(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        command: what is under way when it comes; empty: the environment is READY and idle, and `up` follows.
        up: whether the environment is READY before.
        codes: how the command may end.
        cause: what it must say where it does not end with 0; a regular expression.
        within: seconds the command may take.
        moments: the fault comes at a random moment of so many seconds.
        before: the words before the command that make its host a poor one.
    """

    name: str
    inject: Callable[[Scene], object]
    command: tuple[str, ...] = ()
    up: bool = False
    codes: frozenset[int] = frozenset({0, 3})
    cause: str = ""
    within: float = 120.0
    moments: float = 4.0
    before: Callable[[Scene], tuple[str, ...]] = lambda _: ()


def _own(number: signal.Signals, resume: float = 0.0) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        assert scene.running is not None
        if scene.running.process.poll() is None:
            scene.running.send(number)
            if resume:
                time.sleep(resume)
                scene.running.send(signal.SIGCONT)

    return inject


def _kill(number: signal.Signals, *words: str, resume: float = 0.0) -> Callable[[Scene], None]:
    return lambda scene: scene.signal(number, *words, resume=resume)


def _inside(machine: str, script: str) -> Callable[[Scene], None]:
    return lambda scene: scene.guest(machine, script)


def _state(change: Callable[[str], str]) -> Callable[[Scene], object]:
    def inject(scene: Scene) -> None:
        path = scene.folder / "state.json"
        path.write_text(change(path.read_text()))

    return inject


def _reboot_of_the_host(scene: Scene) -> None:
    """All processes gone, sockets too, the boot id another one."""
    for pid in scene.host.processes():
        _quietly(pid, signal.SIGKILL)
    shutil.rmtree(scene.host.runtime, ignore_errors=True)
    scene.host.runtime.mkdir(mode=0o700)
    for path in RAM.glob("orch-*/ram-*"):
        shutil.rmtree(path, ignore_errors=True)
    path = scene.folder / "state.json"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    path.write_text(path.read_text().replace(boot, "00000000-0000-4000-8000-000000000000"))


def _second(*words: str) -> Callable[[Scene], object]:
    return lambda scene: scene.others.append(scene.host.start(*words))


def _eight(scene: Scene) -> None:
    for words in (
        ("status",),
        ("status", "--json"),
        ("exec", "server", "--", "true"),
        ("exec", "client", "--", "id"),
        ("logs", "--lines", "5"),
        ("ssh-config",),
        ("graph",),
        ("status", "--checks"),
    ):
        scene.others.append(scene.host.start(*words))


def _hurt_snapshot(_: Scene) -> None:
    """One flipped bit in the server's saved memory."""
    for path in RAM.glob("orch-*/snapshots-*/*/server/ram"):
        with path.open("r+b") as file:
            file.seek(16 << 20)
            byte = file.read(1)
            file.seek(16 << 20)
            file.write(bytes([byte[0] ^ 4]))


def _remove_snapshots(_: Scene) -> None:
    for path in RAM.glob("orch-*/snapshots-*/*"):
        shutil.rmtree(path, ignore_errors=True)


def _nothing(_: Scene) -> None:
    """The host itself is the fault."""


def _is_other(seen: Path, place: Path) -> bool:
    """Whether a folder is on a file system of its own as the command sees it."""
    with suppress(OSError):
        return seen.stat().st_dev != place.stat().st_dev
    return False


def _fill(folder: str) -> Callable[[Scene], None]:
    """The file system that `_little_room` made is filled to its last block."""

    def inject(scene: Scene) -> None:
        assert scene.running is not None
        place = RAM if folder == "memory" else scene.host.root / folder
        # The mount is in a namespace of the command; this is the way in.
        seen = Path(f"/proc/{scene.running.process.pid}/root{place}")
        end = time.monotonic() + APPEARS
        while time.monotonic() < end and not _is_other(seen, place):
            time.sleep(0.02)
        if not _is_other(seen, place):
            return  # never this host's own
        with suppress(OSError), (seen / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))

    return inject


def _remove_ram(_: Scene) -> None:
    for path in RAM.glob("orch-*/ram-*/*"):
        path.unlink()


def _little_room(folder: str, least: int, most: int) -> Callable[[Scene], tuple[str, ...]]:
    """For the command and its machines this folder lies on a file system of so many KiB."""

    def words(scene: Scene) -> tuple[str, ...]:
        place = RAM if folder == "memory" else scene.host.root / folder
        place.mkdir(exist_ok=True)
        return free_space_mount(place, f"{scene.dice.randint(least, most)}k")

    return words


LINK = "$(ip -br -4 address | awk '/ 192[.]168[.]1[.]/ { print $1 }')"
RUN = ("run", "--grep", "security header")
UNBEGUN = (-2, -15)  # a signal before Python has read our modules; a shell shows 130 and 143
UP, UP_COLD, RESET = ("up",), ("up", "--fresh"), ("reset",)
INTERRUPTED, KILLED = frozenset({0, 130, 143, *UNBEGUN}), frozenset({0, -9})
FULL = r"space|full|room|MiB are needed"
PLENTY, MORE = (2_200_000, 2_300_000), (4_000_000, 4_100_000)  # KiB: enough to begin with
LOST = (
    r"is gone|exited|was ended|SIGKILL|is lost|killed|does not (run|answer)|is not running|is paused|stopped answering"
)
SILENT = r"does not answer|did not (answer|come|boot|end)|is not up|time limit|accept SSH|not answer|is lost|" + LOST
TERM, INT, KILL, STOP = signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP
QEMU = ("qemu-system", "-name server")

FAULTS: tuple[Fault, ...] = (
    Fault("orchestrator SIGKILL during up", _own(KILL), UP, codes=KILLED),
    Fault("orchestrator SIGKILL during cold up", _own(KILL), UP_COLD, codes=KILLED, moments=25),
    Fault("orchestrator SIGTERM during up", _own(TERM), UP, codes=INTERRUPTED, cause="interrupted"),
    Fault("orchestrator SIGINT during up", _own(INT), UP, codes=INTERRUPTED, cause="interrupted"),
    Fault("orchestrator SIGSTOP during up", _own(STOP, 3.0), UP),
    Fault("orchestrator SIGKILL during reset", _own(KILL), RESET, up=True, codes=KILLED),
    Fault("orchestrator SIGKILL during down", _own(KILL), ("down",), up=True, codes=KILLED, moments=0.8),
    Fault("orchestrator SIGKILL during restart", _own(KILL), ("restart", "backend"), up=True, codes=KILLED),
    Fault(
        "orchestrator SIGKILL during snapshot save",
        _own(KILL),
        ("snapshot", "save", "point"),
        up=True,
        codes=KILLED,
        moments=2.5,
    ),
    Fault("orchestrator SIGKILL during run", _own(KILL), RUN, codes=KILLED, moments=12),
    Fault("QEMU SIGKILL during up", _kill(KILL, *QEMU), UP, cause=LOST),
    Fault("QEMU SIGKILL during cold up", _kill(KILL, *QEMU), UP_COLD, cause=LOST, moments=25),
    Fault("QEMU SIGTERM during up", _kill(TERM, *QEMU), UP, cause=LOST),
    Fault("QEMU SIGSTOP during up", _kill(STOP, *QEMU, resume=4), UP, cause=SILENT),
    Fault("QEMU SIGKILL", _kill(KILL, *QEMU), up=True, cause=LOST),
    Fault("QEMU SIGTERM", _kill(TERM, *QEMU), up=True, cause=LOST),
    Fault("QEMU SIGSTOP", _kill(STOP, *QEMU), up=True, cause=SILENT, within=200),
    Fault("QEMU SIGKILL during reset", _kill(KILL, *QEMU), RESET, up=True, cause=LOST),
    Fault("QEMU SIGKILL during run", _kill(KILL, "qemu-system", "-name client"), RUN, cause=LOST, moments=12),
    Fault("switch SIGKILL during up", _kill(KILL, "vde_switch"), UP, cause=r"switch|network|" + SILENT),
    Fault("switch SIGKILL", _kill(KILL, "vde_switch"), up=True, cause=r"switch|network|" + SILENT, within=200),
    Fault("QMP socket removed", lambda scene: scene.socket("qmp*"), up=True, cause=r"QMP|socket"),
    Fault("agent socket removed", lambda scene: scene.socket("agent"), up=True, cause=r"agent"),
    Fault("state file truncated", _state(lambda text: text[: len(text) // 2]), up=True, cause=r"state"),
    Fault("state file empty", _state(lambda _: ""), up=True, cause=r"state"),
    Fault(
        "state file of another format",
        _state(lambda text: re.sub(r'"format": ?\d+', '"format": 1', text)),
        up=True,
        cause=r"state|format|older",
    ),
    Fault("state file foreign", _state(lambda _: json.dumps(["not", "ours"])), up=True, cause=r"state"),
    Fault("host rebooted", _reboot_of_the_host, up=True),
    Fault("RAM files removed", _remove_ram, up=True),
    Fault(
        "state folder removed during up",
        lambda scene: shutil.rmtree(scene.folder, ignore_errors=True),  # there may be none yet
        UP,
        cause=r"state folder",
    ),
    Fault("saved states removed during up", _remove_snapshots, UP, cause=r"snapshot|saved state"),
    Fault("saved memory with a flipped bit", _hurt_snapshot, UP, moments=0.0),
    Fault("run folder removed", lambda scene: shutil.rmtree(scene.host.latest), up=True, cause=r"run folder|No such"),
    Fault(
        "host refuses memory", _nothing, RUN, cause=r"memory|allocate", before=lambda _: ("prlimit", "--as=1500000000")
    ),
    Fault("host's disk small", _nothing, RUN, cause=FULL, before=_little_room("state", 500, 120_000)),
    Fault("disk of the run folder small", _nothing, RUN, cause=FULL, before=_little_room("runs", 40, 1500)),
    Fault("little memory for files", _nothing, RUN, before=_little_room("memory", 1000, 100_000), within=400),
    Fault(
        "host's disk fills up",
        _fill("state"),
        RUN,
        cause=FULL,
        before=_little_room("state", *PLENTY),
        within=400,
        moments=20,
    ),
    Fault(
        "disk of the run folder fills up",
        _fill("runs"),
        RUN,
        cause=FULL,
        before=_little_room("runs", *PLENTY),
        within=400,
        moments=20,
    ),
    Fault(
        "memory for files fills up",
        _fill("memory"),
        RUN,
        cause=FULL,
        before=_little_room("memory", *MORE),
        within=400,
        moments=40,
    ),
    Fault("two up at once", _second("up"), UP, codes=frozenset({0, 5}), cause="held|another command"),
    Fault("down during up", _second("down"), UP, codes=frozenset({0, 5}), cause="held|another command"),
    Fault("reset during up", _second("reset"), UP, up=True, codes=frozenset({0, 5}), cause="held|another command"),
    Fault("eight commands at once", _eight, up=True, codes=frozenset({0, 5}), cause="held"),
    Fault("guest panics", _inside("server", "echo c > /proc/sysrq-trigger"), up=True, cause=r"panic|" + SILENT),
    Fault(
        "guest panics during restart",
        _inside("server", "echo c > /proc/sysrq-trigger"),
        ("restart", "backend"),
        up=True,
        codes=frozenset({0, 3, 5}),
        cause=r"panic|" + SILENT,
        moments=2,
    ),
    Fault("guest resets itself", _inside("server", "echo b > /proc/sysrq-trigger"), up=True, cause=SILENT, within=200),
    Fault(
        "sshd masked",
        _inside("server", "systemctl mask --now --runtime ssh; pkill -x sshd-session"),
        up=True,
        cause=r"ssh",
        within=400,
    ),
    Fault(
        "guest agent stopped", _inside("server", "systemctl stop qemu-guest-agent"), up=True, cause=r"agent", within=300
    ),
    Fault(
        "guest network down",
        _inside("client", f"ip link set {LINK} down"),
        up=True,
        cause=r"client|network",
        within=200,
    ),
    Fault("PostgreSQL killed", _inside("server", "systemctl kill -s KILL postgresql"), up=True, cause="postgresql"),
    Fault(
        "PostgreSQL stopped",
        _inside("server", "systemctl kill -s STOP postgresql"),
        up=True,
        cause=r"postgresql|database|backend",
        within=400,
    ),
    Fault("backend killed", _inside("server", "systemctl kill -s KILL alicia"), up=True, cause="backend"),
    Fault("backend paused", _inside("server", "systemctl kill -s STOP alicia"), up=True, cause="backend", within=200),
    Fault("nginx killed", _inside("server", "systemctl kill -s KILL nginx"), up=True, cause="nginx"),
    Fault("clock set back", _inside("server", "date -s '2001-01-01 00:00:00'"), up=True),
    Fault(
        "guest disk full",
        _inside("server", "fallocate -l $(df --output=avail -B1 / | tail -1) /fill"),
        up=True,
        cause=r"space|disk|failed",
    ),
    Fault("guest out of memory", _inside("server", "tail /dev/zero"), up=True, cause=r"memory|oom|failed"),
)


def build_was_killed(host: Host, dice: random.Random, root: Path) -> tuple[Path, subprocess.Popen[bytes]]:
    """A build of an image that nobody has, under way; the folder of its topology."""
    folder = host.root / f"image-{dice.randrange(1 << 30):x}"
    folder.mkdir()
    recipes = root / "debian-images"
    (folder / "server.toml").write_text(
        f'include = ["{recipes}/server.toml"]\nkernel_parameters = ["mark={folder.name}"]\n'
    )
    text = (root / "tests/vm/pair.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("debian =", "nixos_flake ="))]
    text = "\n".join(lines).replace("[images.small]", '[images.small]\ndebian = "server.toml"')
    (folder / "pair.toml").write_text(text + "\n")
    words = host.argv("--file", str(folder / "pair.toml"), "images", "build")
    process = subprocess.Popen(words, env=host.environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return folder, process
