"""The hand-over, what the orchestrator does in a guest when its agent first answers: texts, and how they get there.

Scripts run through the guest agent, safe to run again and without output: one
with all that services rest on (host name, addresses and names of the network,
this environment's SSH key), and one that starts the stream of the journal to
the host, for which a systemd that still boots takes a second. The host key is
read apart, because the guest may still be making it.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.keys import AUTHORIZED_KEYS
from orchestrator.guest.lacks import Lack, Lacks
from orchestrator.guest.plug import MOUNT_DISK
from orchestrator.images.layers import serial_of
from orchestrator.net.guest_script import LACKS, guest_network_script
from orchestrator.topology.model import GuestFile, Machine, Service, Topology
from orchestrator.vm.arguments import JOURNAL_PORT

NO_SYSTEMD, READ_ONLY = 81, 82  # codes of a hand-over script that cannot do its work here
LAYER_TRIES = 100  # looks for the disk of a layer, a tenth of a second apart: it is there when the guest boots
HANDED_OVER = "/run/orchestrator-handed-over"  # of this boot: a guest that rebooted by itself has none
DROP_IN = "50-orchestrator.conf"
JOURNAL_UNIT = "orchestrator-journal.service"
JOURNAL_FIELDS = (
    "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,UNIT,INVOCATION_ID,MESSAGE_ID,JOB_RESULT,JOB_TYPE,_PID,EXIT_CODE,"
    "EXIT_STATUS,_SOURCE_MONOTONIC_TIMESTAMP,_SOURCE_REALTIME_TIMESTAMP"
)


def handover_script(
    machine: Machine, topology: Topology, user_key: str, services: Collection[str] = (), layers: Collection[str] = ()
) -> str:
    """Shell for ``sh -s``; it prints nothing.

    Args:
        services: those that may start, so that what they need must be there.
        layers: those that the machine has as disks.
    """
    return "\n".join(
        [
            "set -e",
            *conditions(),
            guest_network_script(machine, topology.machines, topology.networks),
            *_mounts(machine, topology, services, layers),
            _authorize(user_key),
            *_environment(topology.services_on(machine.name, services)),
            f": > {HANDED_OVER}",
            "",
        ]
    )


def services_script(machine: Machine, topology: Topology, services: Collection[str], layers: Collection[str]) -> str:
    """Shell for ``sh -s`` that gives services of a machine what they need; empty where that is nothing."""
    mounts = _mounts(machine, topology, services, layers)
    environment = _environment(topology.services_on(machine.name, services))
    return "\n".join(["set -e", *mounts, "umask 077", *environment, ""]) if mounts or environment else ""


def conditions() -> list[str]:
    """What must be so; the shell sees it without a program."""
    return [
        f'[ -d /run/systemd/system ] || {{ read -r init < /proc/1/comm; echo "$init" >&2; exit {NO_SYSTEMD}; }}',
        f"[ -w /etc ] || exit {READ_ONLY}",
    ]


def _authorize(user_key: str) -> str:
    """Only this environment's key opens the guest."""
    return "\n".join(
        [
            "umask 077",
            "[ -d /root/.ssh ] || mkdir -p /root/.ssh",
            f"printf '%s\\n' {shlex.quote(user_key)} > {AUTHORIZED_KEYS}",
        ]
    )


def _mounts(machine: Machine, topology: Topology, services: Collection[str], layers: Collection[str]) -> list[str]:
    """Mount those of the disks of layers that services use; nothing where there are none."""
    lines = []
    for layer in topology.layers_of(machine.name, services):
        if layer.name in layers:
            what = f"layer {layer.name}"
            lines.append(shlex.join(["mount_disk", serial_of(layer.name), layer.target, str(LAYER_TRIES), what]))
    return ["umask 022", MOUNT_DISK, *lines] if lines else []


def _environment(services: Iterable[Service]) -> list[str]:
    """Drop-ins with the environment that the topology gives to units; nothing where it gives none."""
    lines = []
    for service in services:
        if service.unit is None or not (service.environment or service.environment_file):
            continue
        folder = f"/run/systemd/system/{service.unit}.d"
        content = ["[Service]", *(f"Environment={_quoted(f'{k}={v}')}" for k, v in service.environment.items())]
        if service.environment_file is not None:
            content.append(f"EnvironmentFile={service.environment_target}")
        words = " ".join(shlex.quote(line) for line in content)
        lines += [
            f"mkdir -p -m 0755 {shlex.quote(folder)}",
            f"printf '%s\\n' {words} > {shlex.quote(f'{folder}/{DROP_IN}')}",
        ]
    # The manager is told of drop-ins by a reload only.
    return [*lines, "systemctl daemon-reload"] if lines else []


def _quoted(text: str) -> str:
    """A word of a unit file: quotes, C escapes and ``%`` mean themselves."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def journal_script() -> str:
    """Shell that starts a transient unit that writes the whole journal, and what follows, to the host's port.

    It needs nothing in the image, and no reload of systemd, which costs seconds
    under emulation. It is the orchestrator's, not the stack's: it waits for nothing.
    """
    # The port is found without udev, which may not have named it yet.
    pump = (
        "PATH=$PATH:/run/current-system/sw/bin; for port in /sys/class/virtio-ports/*; do "
        f'read -r name < "$port/name" || continue; [ "$name" = {JOURNAL_PORT} ] || continue; '
        f"exec journalctl --boot --follow --lines=all --output=json --output-fields={JOURNAL_FIELDS} "
        '> "/dev/${port##*/}"; done; exit 71'
    )
    properties = ("DefaultDependencies=no", "Restart=on-failure", "RestartSec=1", "Nice=5")
    start = ["systemd-run", "--quiet", "--no-block", "--expand-environment=no", f"--unit={JOURNAL_UNIT}", "--collect"]
    start += [f"--property={one}" for one in properties]
    line = shlex.join([*start, "/bin/sh", "-c", pump])
    # It runs already when a guest is handed over again; to look for its cgroup starts no program.
    return f"[ -d /sys/fs/cgroup/system.slice/{JOURNAL_UNIT} ] || {line}"


def file_script(target: str, mode: int) -> str:
    """Shell that writes stdin to ``target``; the content is in no argument."""
    quoted = shlex.quote(target)
    return (
        f'mkdir -p -m 0755 "$(dirname {quoted})" && umask 077 && cat > {quoted}.new '
        f"&& chmod {mode:04o} {quoted}.new && mv -f {quoted}.new {quoted}"
    )


def read_file(file: GuestFile) -> bytes | None:
    """The content of a pushed file; None when it is missing and may be."""
    if not file.source.exists() and not file.required:
        return None
    return file.source.read_bytes()


async def run_script(agent: GuestChannel, script: str, limit: Deadline, lacks: Lacks) -> None:
    """Run one of these scripts in the guest.

    Args:
        lacks: makes the error where the guest lacks something.

    Raises:
        MachineError: it failed.
    """
    result = await agent.exec(["sh", "-s"], stdin=script.encode(), deadline=limit)
    if result.code == NO_SYSTEMD:
        raise lacks.error(Lack.SYSTEMD, f"its agent answers, and its process 1 is {result.complaint or 'unknown'}")
    if result.code == READ_ONLY:
        raise lacks.error(Lack.WRITABLE_ROOT, "its agent answers, and /etc cannot be written")
    if result.code != 0:
        what, hint = LACKS.get(result.code, ("could not be set up", f"orchestrator console {agent.machine}"))
        raise MachineError(
            f"machine {agent.machine} {what}",
            subject=agent.machine,
            why=result.complaint,
            hint=hint,
            where=lacks.where,
        )


async def push_files(agent: GuestChannel, files: Iterable[GuestFile], limit: Deadline) -> None:
    """Write the topology's files into the guest.

    Raises:
        MachineError: one cannot be written.
    """
    for file in files:
        content = read_file(file)
        if content is not None:
            pushed = await agent.exec(["sh", "-c", file_script(file.target, file.mode)], stdin=content, deadline=limit)
            if pushed.code != 0:
                raise MachineError(f"{file.target} could not be written in {agent.machine}", why=pushed.complaint)


def known_hosts_line(port: int, host_key: str) -> str:
    """For OpenSSH: this port of loopback is this key."""
    fields = host_key.split()
    return f"[127.0.0.1]:{port} {fields[0]} {fields[1]}"
