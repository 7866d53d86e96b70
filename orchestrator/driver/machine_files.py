"""Files of a machine."""

from __future__ import annotations

from pathlib import Path

from orchestrator.driver.machine_answers import Answers
from orchestrator.driver.results import Seconds
from orchestrator.errors import IncompleteCopy, UsageError
from orchestrator.guest.copy_entries import Tally
from orchestrator.guest.files import between, get, inspect, put

NAMED = 10  # what was left out, in an error
COPY = 600.0  # seconds of a copy, before scaling


class GuestPath:
    """A path in a machine. Nothing is asked by making it."""

    def __init__(self, machine: Answers, path: str) -> None:
        self._machine = machine
        self._path = path

    def __str__(self) -> str:
        return self._path

    def __truediv__(self, name: str) -> GuestPath:
        """A path below this one."""
        return GuestPath(self._machine, f"{self._path.rstrip('/')}/{name}")

    async def exists(self) -> bool:
        """Whether something is there; a link is followed."""
        return await self._test("-e")

    async def is_dir(self) -> bool:
        """Whether it is a folder; a link is followed."""
        return await self._test("-d")

    async def read_bytes(self) -> bytes:
        """The content of the file.

        Raises:
            CommandFailed: it cannot be read.
        """
        return (await self._machine.run(["cat", "--", self._path], check=True)).stdout

    async def read_text(self) -> str:
        """The content of the file as text; bytes that are no UTF-8 are replaced."""
        return (await self.read_bytes()).decode("utf-8", "replace")

    async def write_bytes(self, content: bytes) -> None:
        """Replace the content of the file; a new one is root's, with mode 0644.

        Raises:
            CommandFailed: it cannot be written.
        """
        script = 'umask 022; cat > "$1"'
        await self._machine.run(["sh", "-c", script, "sh", self._path], stdin=content, check=True)

    async def write_text(self, content: str) -> None:
        """Replace the content of the file, as UTF-8; see `write_bytes`."""
        await self.write_bytes(content.encode())

    async def mkdir(self) -> None:
        """Make a folder, and those above it; one that is there stays."""
        await self._machine.run(["mkdir", "-p", "--", self._path], check=True)

    async def unlink(self) -> None:
        """Remove the file; one that is not there is no error."""
        await self._machine.run(["rm", "-f", "--", self._path], check=True)

    async def names(self) -> list[str]:
        """The names in the folder, sorted.

        Raises:
            CommandFailed: it is not a folder.
        """
        words = ["find", self._path, "-mindepth", "1", "-maxdepth", "1", "-printf", r"%f\0"]
        found = await self._machine.run(words, check=True)
        return sorted(name.decode("utf-8", "surrogateescape") for name in found.stdout.split(b"\0") if name)

    async def _test(self, flag: str) -> bool:
        return (await self._machine.run(["test", flag, self._path])).rc == 0


class Files(Answers):
    """Files between this host and machines. Modes, times and links keep; docs/commands.md, cp, has the rules."""

    def path(self, path: str) -> GuestPath:
        """A path in this machine."""
        return GuestPath(self, path)

    async def copy_from_host(self, source: str | Path, target: str, timeout: Seconds | None = COPY) -> None:
        """Copy a file or folder of this host to exactly ``target``; folders above it are made.

        Raises:
            UsageError: there is no such file.
            GuestCommandError: the machine could not write it.
            IncompleteCopy: something was left out.
        """
        if not Path(source).exists():
            raise UsageError(f"{source} does not exist on this host")
        live = await self._up()
        parent = target.rstrip("/").rpartition("/")[0]
        if parent:
            await self.run(["mkdir", "-p", "--", parent], check=True)
        ssh = await live.ssh()
        self._complete(await self._call(put(ssh, str(source), target, deadline=self._deadline(timeout))), target)

    async def copy_from_machine(self, source: str, target: str | Path = "", timeout: Seconds | None = COPY) -> Path:
        """Copy a file or folder of this machine into a folder of this host.

        Args:
            target: the folder, relative to the run folder's ``artifacts``; made where it is missing.

        Returns:
            The copy.

        Raises:
            GuestCommandError: it does not exist.
        """
        live = await self._up()
        folder = self._fleet.session.run_folder / "artifacts" / target
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / (source.rstrip("/").rpartition("/")[2] or self.name)
        ssh = await live.ssh()
        self._complete(await self._call(get(ssh, source, place, deadline=self._deadline(timeout))), source)
        return place

    async def copy_to_machine(self, source: str, other: Files, target: str, timeout: Seconds | None = COPY) -> None:
        """Copy a file or folder of this machine to exactly ``target`` in another; nothing is stored on this host."""
        here, there = await self._up(), await other._up()
        deadline, tally = self._deadline(timeout), Tally()
        remote = await self._call(inspect(await here.ssh(), source, deadline=deadline))
        await self._call(between(remote, await there.ssh(), target, deadline=deadline, tally=tally))
        self._complete(tally, source)

    def _complete(self, tally: Tally, what: str) -> None:
        if tally.missing:
            evidence = tally.names_left_out(NAMED)
            raise IncompleteCopy(f"{what} was not copied completely", evidence=evidence, subject=self.name)
