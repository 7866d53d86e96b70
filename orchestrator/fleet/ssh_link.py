"""One connection of OpenSSH to a host: commands, forwards and copies share it. Nothing listens beyond loopback.

It is the user's own `ssh`, with its keys, its `known_hosts` and its configuration. ORCH_SSH names another command,
such as ``ssh -F FILE``.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from orchestrator.deadline import FOREVER, Deadline, wait_until
from orchestrator.errors import HostError
from orchestrator.process import Completed, child, run, tail
from orchestrator.process_lines import stream_lines

SSH = "ORCH_SSH"
CONNECTING = 30.0  # seconds until a host answers
SHORT = 30.0  # seconds of a short command there
OPTIONS = {
    "BatchMode": "yes",  # nobody is there to be asked
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",
    "ConnectTimeout": "20",
    "ControlPersist": "no",
}


def ssh_words() -> list[str]:
    """The command in place of ``ssh``."""
    return shlex.split(os.environ.get(SSH) or "ssh")


class SshLink:
    """A connection that is open.

    Attributes:
        host: as ssh takes it.
    """

    def __init__(self, host: str, control: Path) -> None:
        self.host = host
        self._control = control
        self._rsync: bool | None = None

    @property
    def words(self) -> list[str]:
        """ssh through the connection."""
        return [*ssh_words(), "-S", str(self._control), "-o", "ControlMaster=no", "-o", "BatchMode=yes"]

    def command(self, argv: Sequence[str]) -> list[str]:
        """What runs a command over there; its words stay what they are."""
        return [*self.words, "-T", self.host, "--", shlex.join(argv)]

    async def run(self, argv: Sequence[str], limit: float = SHORT, *, check: bool = True) -> Completed:
        """A short command over there.

        Raises:
            HostError: it failed, or the host does not answer.
        """
        return await run(self.command(argv), deadline=Deadline.after(limit), check=check)

    async def forward_back(self, port: int) -> int:
        """A port on the loopback of the host that leads to one of ours; its number."""
        done = await self._forward("-R", f"127.0.0.1:0:127.0.0.1:{port}")
        try:
            return int(done.stdout.split()[0])
        except (IndexError, ValueError) as error:
            raise HostError(f"{self.host} opened no port for us", why=done.stdout + done.stderr) from error

    async def forward(self, port: int) -> int:
        """A port on our loopback that leads to one on the host's; its number."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            here = int(probe.getsockname()[1])
        await self._forward("-L", f"127.0.0.1:{here}:127.0.0.1:{port}")
        return here

    async def _forward(self, kind: str, what: str) -> Completed:
        argv = [*ssh_words(), "-S", str(self._control), "-O", "forward", kind, what, self.host]
        return await run(argv, deadline=Deadline.after(SHORT), hint="AllowTcpForwarding of the sshd over there")

    # ------------------------------------------------------------------ copies

    async def push(self, source: Path, target: str, tell: Callable[[str], None], excluded: Sequence[str] = ()) -> None:
        """A file here becomes one there, the content of a folder that of one there; what was broken off goes on.

        Raises:
            HostError: it did not get there.
        """
        folder = target if source.is_dir() else str(Path(target).parent)
        await self.run(["mkdir", "-p", folder])
        if await self._has_rsync():
            end = "/" if source.is_dir() else ""
            await self._rsync_copy([f"{source}{end}", f"{self.host}:{target}{end}"], tell, excluded)
            return
        root, name = (source, ".") if source.is_dir() else (source.parent, source.name)
        packed = ["tar", "-C", str(root), "-S", *(f"--exclude=.{one}" for one in excluded), "-cf", "-", name]
        await self._pipe(packed, self.command(["tar", "-C", folder, "-xf", "-"]))

    async def pull(self, source: str, target: Path, only: Sequence[str] = ()) -> None:
        """The content of a folder there, here; ``only``: files of these names, at any depth.

        Raises:
            HostError: it did not get here.
        """
        target.mkdir(parents=True, exist_ok=True)
        if await self._has_rsync():
            chosen = ["--include=*/", *(f"--include={one}" for one in only), "--exclude=*", "--prune-empty-dirs"]
            await self._rsync_copy([*(chosen if only else ()), f"{self.host}:{source}/", f"{target}/"], lambda _: None)
            return
        await self._pipe(self.command(["tar", "-C", source, "-cf", "-", "."]), ["tar", "-C", str(target), "-xf", "-"])

    async def _has_rsync(self) -> bool:
        if self._rsync is None:
            here = shutil.which("rsync") is not None
            self._rsync = here and (await self.run(["rsync", "--version"], check=False)).code == 0
        return self._rsync

    async def _rsync_copy(
        self, words: Sequence[str], tell: Callable[[str], None], excluded: Sequence[str] = ()
    ) -> None:
        lines: list[str] = []

        def line(text: str) -> None:
            part = text.rpartition("\r")[2].split()
            if len(part) >= 3 and part[1].endswith("%"):
                tell(f"{part[1]} at {part[2]}")
            else:
                lines.append(text)

        options = ["-a", "-S", "--partial", "--inplace", "--info=progress2", "--timeout=60"]
        argv = ["rsync", *options, *(f"--exclude={one}" for one in excluded), "-e", shlex.join(self.words), *words]
        code = await stream_lines(argv, line, deadline=Deadline.after(FOREVER))
        if code != 0:
            raise HostError(f"rsync with {self.host} ended with {code}", evidence=lines[-5:])

    async def _pipe(self, first: Sequence[str], second: Sequence[str]) -> None:
        read, write = os.pipe()
        async with child(second, stdin=read, stdout=subprocess.DEVNULL) as receiving:
            os.close(read)
            async with child(first, stdout=write, stderr=subprocess.DEVNULL) as sending:
                os.close(write)
                codes = (await sending.wait(), await receiving.wait())
        if codes != (0, 0):
            raise HostError(f"a copy with {self.host} failed", why=f"tar ended with {codes[0]} and {codes[1]}")


@asynccontextmanager
async def connected(host: str, folder: Path, log: Path) -> AsyncIterator[SshLink]:
    """A connection for the block.

    Args:
        folder: takes its control socket; its path is short.

    Raises:
        HostError: the host does not answer, or does not let us in.
    """
    control = folder / f"{hashlib.sha256(host.encode()).hexdigest()[:8]}.ssh"
    control.unlink(missing_ok=True)
    options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    argv = ["setpriv", "--pdeathsig", "TERM", *ssh_words(), "-M", "-N", "-T", "-S", str(control), *options, host]
    with log.open("ab") as errors:
        async with child(argv, stdout=subprocess.DEVNULL, stderr=errors, grace=2.0) as master:
            await wait_until(lambda: control.exists() or master.returncode is not None, Deadline.after(CONNECTING))
            if not control.exists():
                raise HostError(
                    f"{host} cannot be reached by ssh",
                    why="\n".join(tail(log, 3)),
                    hint=f"{shlex.join(ssh_words())} {host} true",
                )
            try:
                yield SshLink(host, control)
            finally:
                with suppress(OSError):
                    control.unlink(missing_ok=True)
