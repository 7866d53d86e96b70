"""``known_hosts`` and ``ssh.config`` of an environment: plain ssh, scp, rsync and editors then reach its machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.environment.handover import known_hosts_line
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import MachineState
from orchestrator.vm.arguments import SSH_GUEST_PORT


def write_ssh_files(paths: EnvironmentPaths, machines: Mapping[str, MachineState]) -> None:
    """Write both again, of what is recorded; a machine that was never set up is in neither."""
    machines = {name: machine for name, machine in machines.items() if machine.host_key and machine.ports}
    lines = [known_hosts_line(machine.ports[SSH_GUEST_PORT], machine.host_key) for machine in machines.values()]
    paths.known_hosts.write_text("\n".join(lines) + "\n")
    key, known_hosts = (_nameable(paths, path) for path in (paths.user_key, paths.known_hosts))
    ports = {name: machine.ports[SSH_GUEST_PORT] for name, machine in machines.items()}
    text = ssh_config(ports, key=key, known_hosts=known_hosts)
    paths.ssh_config.write_text(text, encoding="utf-8", errors="surrogateescape")


def ssh_config(ports: Mapping[str, int], *, key: Path, known_hosts: Path) -> str:
    """The configuration, a block for each machine. Pure."""
    return "\n".join(
        f"Host {name}\n  HostName 127.0.0.1\n  Port {port}\n  User root\n"
        f"  IdentityFile {word(key)}\n  IdentitiesOnly yes\n  UserKnownHostsFile {word(known_hosts)}\n"
        "  StrictHostKeyChecking yes\n  BatchMode yes\n"
        for name, port in ports.items()
    )


def word(path: Path) -> str:
    r"""A path as one word of ssh_config(5): quoted, and with the percent sign doubled, which begins a token. Pure.

    >>> print(word(Path('/a b/5%')))
    "/a b/5%%"
    """
    escaped = re.sub(r'([\\"])', r"\\\1", str(path)).replace("%", "%%")
    return escaped if re.fullmatch(r"[\w@%+=:,./-]+", escaped) else f'"{escaped}"'


def _nameable(paths: EnvironmentPaths, path: Path) -> Path:
    """The path, or one that leads to it: ssh_config(5) cannot name a line break, nor ``${`` as it is."""
    if not re.search(r"[\n\r]|\$\{", str(path)):
        return path
    link = paths.sockets / "files"
    with suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(path.parent)
    return link / path.name
