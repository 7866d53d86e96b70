"""Several hosts on this one: each a network namespace (where root may make one) with sshd, state and cache of its own.

Nothing listens: `ssh` starts each sshd itself and talks to it through a pipe.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.guest.keys import make_user_key

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Hosts:
    """Attributes: ``ssh`` is for ORCH_SSH."""

    folder: Path
    ssh: str

    def home(self, host: str) -> Path:
        """State and cache of a host."""
        return self.folder / host

    def processes(self, host: str) -> list[int]:
        """Everything that runs on a host: what has its state folder in its environment, and its sshd."""
        mark = f"ORCH_STATE_DIR={self.home(host)}/state".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def servers(self, host: str) -> list[int]:
        """The sshd processes of a host."""
        config = f"{self.home(host)}/sshd_config".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if config in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def kill(self, host: str) -> None:
        """The host loses its power: nothing of it goes on, and nobody gets in again."""
        (self.home(host) / "sshd_config").write_text("off\n")
        for pid in [*self.servers(host), *self.processes(host)]:
            kill(pid)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def hosts(folder: Path, variables: Mapping[str, Mapping[str, str]]) -> Iterator[Hosts]:
    """Hosts by name, each with its environment variables."""
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root insists on it
    make_user_key(folder / "host_key", "host")
    (folder / "authorized_keys").write_text(make_user_key(folder / "user_key", "user") + "\n")
    prefixes = {name: _namespace(f"fleet-{os.getpid()}-{name}") for name in variables}
    lines = [
        "Host *",
        f"IdentityFile {folder}/user_key",
        "StrictHostKeyChecking no",
        f"UserKnownHostsFile {folder}/known_hosts",
        "LogLevel ERROR",
    ]
    for name, own in variables.items():
        home = folder / name
        home.mkdir()
        env = {"ORCH_STATE_DIR": f"{home}/state", "ORCH_CACHE_DIR": f"{home}/cache", "ORCH_ACCELERATOR": "tcg", **own}
        (home / "sshd_config").write_text(
            f"HostKey {folder}/host_key\nPidFile none\nAuthorizedKeysFile {folder}/authorized_keys\n"
            "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            f"SetEnv {' '.join(f'{key}={value}' for key, value in env.items())}\n"
        )
        command = " ".join([*prefixes[name], SSHD, "-i", "-f", f"{home}/sshd_config"])
        lines += [f"Host {name}", f"ProxyCommand {command}"]
    (folder / "ssh_config").write_text("\n".join(lines) + "\n")
    made = Hosts(folder, f"ssh -F {folder}/ssh_config")
    try:
        yield made
    finally:
        for name in variables:
            made.kill(name)
            if prefixes[name]:
                subprocess.run(["ip", "netns", "delete", prefixes[name][3]], check=False)


def _namespace(name: str) -> list[str]:
    """What runs a command in a network namespace of its own; nothing where there can be none."""
    ip = shutil.which("ip")
    if os.getuid() != 0 or ip is None:
        return []
    if subprocess.run([ip, "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return []
    subprocess.run([ip, "netns", "exec", name, ip, "link", "set", "lo", "up"], check=True)
    return [ip, "netns", "exec", name]
