"""The command line as users call it: subprocesses with a state of their own, and what they leave behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# One for all tests of this process: what one environment saved, another can start from. Removed at the end, unless it
# is another process's.
OTHERS_RAM = os.environ.get("OVM_RAM")
RAM = Path(OTHERS_RAM or tempfile.mkdtemp(prefix="ovm-", dir="/dev/shm"))
SHOWN = 6000  # characters of an output in a failure message


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command. ``seconds`` is wall time; ``raw`` is stdout's bytes."""

    argv: tuple[str, ...]
    code: int
    raw: bytes
    stderr: str
    seconds: float

    @property
    def stdout(self) -> str:
        return self.raw.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            self.fail(f"stdout is no JSON: {error}")

    def shown(self) -> str:
        """Everything somebody needs who reads a failed test."""
        return (
            f"$ {shlex.join(self.argv)}\nexit code {self.code} after {self.seconds:.1f} s\n"
            f"--- stdout\n{self.stdout[-SHOWN:]}\n--- stderr\n{self.stderr[-SHOWN:]}"
        )

    def fail(self, why: str) -> NoReturn:
        raise AssertionError(f"{why}\n{self.shown()}")

    def expect(self, code: int, *patterns: str, within: float | None = None) -> Done:
        """Check the exit code, that each regular expression is found in stderr, and the wall time.

        A pattern that begins with ``!`` must not be found.
        """
        if self.code != code:
            self.fail(f"exit code {self.code}, expected {code}")
        for pattern in patterns:
            wanted = not pattern.startswith("!")
            if bool(re.search(pattern.removeprefix("!"), self.stderr, re.MULTILINE)) is not wanted:
                self.fail(f"/{pattern}/ {'is not' if wanted else 'is'} in stderr")
        if within is not None and self.seconds > within:
            self.fail(f"took {self.seconds:.1f} s, at most {within:g} s were expected")
        return self


class Running:
    """A command that was started and goes on; its output grows in two files."""

    def __init__(self, argv: tuple[str, ...], environment: Mapping[str, str], folder: Path, *, group: bool) -> None:
        self.argv = argv
        self._paths = tuple(Path(tempfile.mkstemp(prefix=name, dir=folder)[1]) for name in ("stdout-", "stderr-"))
        self._began = time.monotonic()
        with self._paths[0].open("wb") as out, self._paths[1].open("wb") as err:
            self.process = subprocess.Popen(
                argv, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=group
            )

    @property
    def stdout(self) -> str:
        return self._paths[0].read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._paths[1].read_text(errors="replace")

    def until(self, condition: Callable[[], object], limit: float, what: str) -> None:
        """Wait until the condition holds; the command must not end before."""
        deadline = time.monotonic() + limit
        while not condition():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                trouble = f"no {what} within {limit:g} s" if code is None else f"ended with {code} before {what}"
                output = f"{self.stdout[-SHOWN:]}\n{self.stderr[-SHOWN:]}"
                raise AssertionError(f"{trouble}\n$ {shlex.join(self.argv)}\n{output}")
            time.sleep(0.05)

    def until_says(self, pattern: str, limit: float) -> None:
        """Wait for a regular expression in either output."""
        self.until(lambda: re.search(pattern, self.stderr + self.stdout, re.MULTILINE), limit, f"/{pattern}/")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, limit: float) -> Done:
        """Its end; it is killed when it does not come."""
        late = False
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            late = True
            self.process.kill()
            self.process.wait()
        done = Done(
            self.argv, self.process.returncode, self._paths[0].read_bytes(), self.stderr, time.monotonic() - self._began
        )
        if late:
            done.fail(f"did not end within {limit:g} s")
        return done


class Host:
    """State, runs and runtime folder of some tests; the image cache is the real one.

    Every process started from here inherits a runtime folder that nobody else
    has, which is how leftovers are known without knowing names.
    """

    def __init__(self, root: Path, topology: Path) -> None:
        self.root = root
        self.topology = topology
        self.runs = root / "runs"
        # UNIX socket names end at 107 bytes, and pytest's folders are long.
        self.runtime = Path(tempfile.mkdtemp(prefix="ovm-"))
        self.runtime.chmod(0o700)
        root.mkdir(parents=True, exist_ok=True)

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
        kept |= {name: os.environ[name] for name in ("ORCH_CACHE_DIR", "ORCH_IMAGES") if name in os.environ}
        return {
            **kept,
            "ORCH_STATE_DIR": str(self.root / "state"),
            "ORCH_RUNS": str(self.runs),
            "ORCH_FILE": str(self.topology),
            "ORCH_RAM_DIR": str(RAM),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "NO_COLOR": "1",
            **extra,
        }

    @staticmethod
    def argv(*words: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "orchestrator", *words)

    def run(
        self, *words: str, stdin: bytes | None = None, limit: float = 120, before: tuple[str, ...] = (), **extra: str
    ) -> Done:
        """Call the orchestrator and wait. ``before`` is put in front of its command line."""
        argv = (*before, *self.argv(*words))
        began = time.monotonic()
        source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        try:
            done = subprocess.run(
                argv, env=self.environment(**extra), capture_output=True, timeout=limit, check=False, **source
            )
        except subprocess.TimeoutExpired as late:
            text = (late.stderr or b"").decode("utf-8", "replace")
            Done(argv, -9, late.stdout or b"", text, limit).fail(f"did not end within {limit:g} s")
        seconds = time.monotonic() - began
        return Done(argv, done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"), seconds)

    def start(self, *words: str, group: bool = False, before: tuple[str, ...] = (), **extra: str) -> Running:
        """Call the orchestrator and go on. ``group``: in a session of its own; ``before`` as in `run`."""
        return Running((*before, *self.argv(*words)), self.environment(**extra), self.root, group=group)

    def guest(self, machine: str, script: str, *, code: int = 0, limit: float = 120, name: str = "") -> str:
        """The stdout of a shell script in a machine; its exit code must be ``code``."""
        option = ("-n", name) if name else ()
        return self.run(*option, "exec", machine, "--", "sh", "-c", script, limit=limit).expect(code).stdout

    # ------------------------------------------------------------------ what a run left to read

    @property
    def latest(self) -> Path:
        return (self.runs / "latest").resolve()

    def started_in(self, name: str = "") -> Path:
        """The run folder of the command that started the machines: their whole logs, what `restart` and `reset` did."""
        return Path(self.status(name)["run_folder"])

    def events(self, kind: str = "", folder: Path | None = None) -> list[dict[str, Any]]:
        """The events of the last `up` or `run`, or of another run folder; those of one kind if given."""
        path = (folder or self.latest) / "events.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        return [event for event in found if not kind or event["kind"] == kind]

    def status(self, name: str = "") -> dict[str, Any]:
        done = self.run(*(("-n", name) if name else ()), "status", "--json")
        found = done.json
        assert isinstance(found, dict), done.shown()
        return found

    def screen(self, machine: str) -> str:
        """The text on the machine's display, which is what a screenshot of it shows."""
        return self.guest(machine, "cat /dev/vcs1")

    # ------------------------------------------------------------------ what must not be left

    def processes(self) -> dict[int, str]:
        """Living processes that were started from here, directly or not: pid → command line."""
        mark = f"XDG_RUNTIME_DIR={self.runtime}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:300]
        return found

    def leftovers(self) -> list[str]:
        """Everything that must not be there when no environment of this host runs."""
        left = [f"process {pid}: {line}" for pid, line in self.processes().items()]
        left += [f"socket folder {path}" for path in self.runtime.rglob("*")]
        for lock in (self.root / "state").glob("environments/*/lock"):
            with lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    left.append(f"{lock} is held: {lock.read_text()}")
        left += [f"memory {path}" for path in RAM.glob("orch-*/ram-*/*") if not self._others(path)]
        left += [f"state {path}" for path in (self.root / "state").glob("environments/**/*")]
        return left

    def _others(self, path: Path) -> bool:
        """Whether a RAM file is mapped by a process that is not of this host."""
        mine = self.processes()
        for maps in Path("/proc").glob("[0-9]*/maps"):
            with suppress(OSError):
                if int(maps.parent.name) not in mine and str(path) in maps.read_text():
                    return True
        return False

    def assert_nothing_left(self, within: float = 0.0) -> None:
        """Nothing is left, at the latest after so many seconds."""
        end = time.monotonic() + within
        while (left := self.leftovers()) and time.monotonic() < end:
            time.sleep(0.1)
        assert not left, "left behind:\n" + "\n".join(left)

    def close(self) -> None:
        """Take everything down; what resists is ended by its pid."""
        with suppress(AssertionError):
            self.run("down", "--all", limit=60)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.runtime, ignore_errors=True)


def contents(path: Path) -> Iterator[bytes]:
    """What a file says, and what is packed in it: a browser's trace is an archive."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name.encode() + b"\0" + archive.read(name)


def edited_topology(folder: Path, *changes: tuple[str, str], source: str = "orchestrator.toml") -> Path:
    """A copy of one of our topologies with texts replaced; each must occur in it."""
    text = (HERE / source).read_text()
    for old, new in (*changes, ('"../../', f'"{ROOT}/')):
        assert old in text, f"{old!r} is not in {source}"
        text = text.replace(old, new)
    text = text.replace('"canary.env"', f'"{HERE / "canary.env"}"')
    path = folder / "edited.toml"
    path.write_text(text)
    return path


def second_phase() -> str:
    """What `edited_topology` takes out to leave one phase; each costs an emulated client half a minute."""
    text = (HERE / "orchestrator.toml").read_text()
    return text[text.rindex("[[suite.phases]]") : text.index("[variants.")]


def free_space_mount(folder: Path, size: str) -> tuple[str, ...]:
    """The words before a command that give it a tiny file system at ``folder``."""
    mount = f'mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(folder))} && exec "$@"'
    how = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    return (*how, "sh", "-c", mount, "sh")


@contextmanager
def collected(*found: Running) -> Iterator[None]:
    """End commands that a failing test would leave."""
    try:
        yield
    finally:
        for one in found:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
