"""A real OpenSSH server on 127.0.0.1, with keys of its own, as the current user."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fake_qemu import run_async

from orchestrator.deadline import Deadline
from orchestrator.guest.keys import host_key_blob, make_user_key
from orchestrator.guest.ssh import Ssh, SshTarget, connect

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Server:
    """Attributes: ``process`` is the listening sshd, ``target`` what a client needs to know."""

    process: subprocess.Popen[bytes]
    target: SshTarget
    folder: Path

    def connections(self) -> list[int]:
        """The pids of the processes that serve one connection each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def cut(self) -> None:
        """End every connection without a word, as a guest that vanishes."""
        for pid in self.connections():
            os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def sshd(folder: Path) -> Iterator[Server]:
    """Run sshd for the block. Its log is ``sshd.log``; the user key is ``id_ed25519``."""
    folder.chmod(0o755)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root insists on it
    host_line = make_user_key(folder / "host_key", "host")
    (folder / "authorized_keys").write_text(make_user_key(folder / "id_ed25519", "user") + "\n")
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxSessions 50\n"
        # bash reads ~/.bashrc for each command of sshd. The developer's own may do anything: take seconds, hold locks.
        f"SetEnv HOME={folder}\n"
    )
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=log, stdin=subprocess.DEVNULL)
    target = SshTarget("server", port, host_key_blob("server", host_line), folder / "id_ed25519", getpass.getuser())
    server = Server(process, target, folder)
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, (folder / "sshd.log").read_text()
                time.sleep(0.01)
        yield server
    finally:
        server.cut()
        process.kill()
        process.wait()


def with_ssh(server: Server, work: Callable[[Ssh], Awaitable[None]]) -> None:
    """Do something over one connection, which is closed afterwards."""

    async def scenario() -> None:
        ssh = await connect(server.target, Deadline.after(10))
        try:
            await work(ssh)
        finally:
            await ssh.close()

    run_async(scenario(), 60)


def soon() -> Deadline:
    return Deadline.after(10)
