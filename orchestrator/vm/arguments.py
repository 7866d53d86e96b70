"""From the model of a machine to what its run script is started with. Pure.

The script is the one ``nixos-rebuild build-vm`` makes, or ours with the same
contract: it ends in ``exec qemu-system-x86_64 … $QEMU_OPTS "$@"``. We pass
script *arguments* (QEMU_OPTS is split on blanks) and a few environment
variables; a later QEMU option overrides or merges with the script's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from orchestrator.topology.model import Machine
from orchestrator.vm.architecture import LEVELS, X86_64, Architecture
from orchestrator.vm.option_values import ReadOnlyDisk, value

AGENT_PORT = "org.qemu.guest_agent.0"
AGENT_DEVICE = "orch-agent"
JOURNAL_PORT = "org.orchestrator.journal"
RAM_BLOCK = "orch-ram"  # the name of a machine's memory, also in its saved state
SSH_GUEST_PORT = 22
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "XDG_RUNTIME_DIR")

# Denied: obsolete system calls, gaining privileges, starting programs, changing limits.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# Changing its user, once, is a gain for the filter. Afterwards no_new_privs and no capability are as strong.
SANDBOX_OF_ROOT = SANDBOX.replace("elevateprivileges=deny", "elevateprivileges=allow")


@dataclass(frozen=True, slots=True)
class MachinePaths:
    """Where the parts of one running machine lie on the host.

    Attributes:
        work: its folder in the state folder (disk overlay, QEMU's own log, scratch).
        sockets: a short folder for UNIX sockets (their names end at 107 bytes).
        logs: its folder in the run folder.
    """

    work: Path
    sockets: Path
    logs: Path

    @property
    def disk(self) -> Path:
        return self.work / "disk.qcow2"

    @property
    def scratch(self) -> Path:
        return self.work / "tmp"

    @property
    def qemu_log(self) -> Path:
        return self.logs / "qemu.log"

    @property
    def serial_log(self) -> Path:
        return self.logs / "serial.log"

    @property
    def journal(self) -> Path:
        return self.logs / "journal.jsonl"

    @property
    def samples(self) -> Path:
        """What QEMU uses of the host; see `orchestrator.vm.samples`."""
        return self.logs / "samples.csv"

    @property
    def qmp(self) -> Path:
        """QMP for the command that drives the machine: commands and events."""
        return self.sockets / "qmp"

    @property
    def qmp_side(self) -> Path:
        """A second QMP socket, for short visits of other commands."""
        return self.sockets / "qmp-side"

    @property
    def agent(self) -> Path:
        return self.sockets / "agent"

    @property
    def egress_out(self) -> Path:
        """Frames of the guest to the world outside, for the egress filter; ``egress_in`` those that may go on."""
        return self.sockets / "egress-out"

    @property
    def egress_in(self) -> Path:
        return self.sockets / "egress-in"

    @property
    def console(self) -> Path:
        return self.sockets / "console"

    @property
    def vnc(self) -> Path:
        """The display, once `orchestrator view` has opened it."""
        return self.sockets / "vnc"

    @property
    def seed(self) -> Path:
        """The disk that tells a foreign guest its keys and addresses; see `orchestrator.guest.seed`."""
        return self.work / "seed.iso"

    @property
    def credentials(self) -> Path:
        """The folder of the same as systemd credentials, and of the host key that the guest was told."""
        return self.work / "credentials"

    @property
    def switched_off(self) -> Path:
        """Who was switched off on purpose, and how; see `orchestrator.environment.switched_off`."""
        return self.work / "switched-off"


@dataclass(frozen=True, slots=True)
class Nic:
    """A network card: the ``-netdev`` values behind it, the last one with the id the card uses."""

    netdevs: tuple[str, ...]
    netdev_id: str
    mac: str


@dataclass(frozen=True, slots=True)
class Memory:
    """A machine's memory, by a name that all saved states share; as a file of the host, it is saved at once.

    Attributes:
        file: as long as the memory; None: anonymous memory, where there is no room for a file.
        shared: writes reach the file; without it they stay private to the process
            (copy on write), and any number of machines rest on one file.
        incoming: wait for a saved state instead of booting.
    """

    file: Path | None
    shared: bool = True
    incoming: bool = False


@dataclass(frozen=True, slots=True)
class QemuSettings:
    """How a machine is run, beyond what the topology says.

    Attributes:
        accelerator: ``kvm`` or ``tcg``, as probed; never left to QEMU's silent fallback.
        fixed_memory: the run script has a memory backend of its own, whose size ``-m`` must not contradict.
        memory: None: the machine has the script's own memory, and cannot be saved.
        user: who QEMU becomes once it has opened its files, as `-run-with` takes it (``60800:60800``);
            empty: it stays who it is.
        drives: the ids of the script's writable drives, see `writable_drives`.
        vnc: QEMU has a VNC server, without an address at first; see `orchestrator.vm.vnc`. No state depends on it.
        disks: what the guest reads besides its own disk. They come last, so that no other device has another place on
            the bus with them, and one that is plugged in later has the place that it has here.
        architecture: the guest's processor, see `architecture_of`.
    """

    accelerator: str
    fixed_memory: bool = False
    memory: Memory | None = None
    user: str = ""
    drives: Sequence[str] = ()
    vnc: bool = False
    disks: Sequence[ReadOnlyDisk] = ()
    architecture: Architecture = X86_64


def script_arguments(
    machine: Machine, paths: MachinePaths, nics: Sequence[Nic], settings: QemuSettings
) -> tuple[str, ...]:
    """The arguments appended to the run script. Pure."""
    arguments = [*_board(machine, settings), *_channels(paths), *_guards(settings)]
    if settings.vnc:
        arguments += ["-vnc", "none"]
    if machine.destinations:
        arguments += _redirect_egress(paths)
    memory = settings.memory
    if memory is not None:
        arguments += ["-object", _memory_backend(machine, memory), "-machine", f"memory-backend={RAM_BLOCK}"]
        if memory.incoming:
            arguments += ["-incoming", "defer", "-S"]
    for nic in nics:
        for netdev in nic.netdevs:
            arguments += ["-netdev", netdev]
        arguments += ["-device", f"virtio-net-pci,netdev={nic.netdev_id},mac={nic.mac}"]
    for disk in settings.disks:
        arguments += disk.arguments()
    return tuple(arguments)


def _board(machine: Machine, settings: QemuSettings) -> list[str]:
    size = [] if settings.fixed_memory else ["-m", f"{machine.memory}M"]
    return [
        "-machine",
        f"accel={settings.accelerator}",
        "-cpu",
        _processor(machine, settings),
        *size,
        "-smp",
        str(machine.cpus),
        "-display",
        "none",  # keeps the display adapter, for screenshots
        "-monitor",
        "none",
    ]


def _processor(machine: Machine, settings: QemuSettings) -> str:
    if machine.cpu in LEVELS:
        return LEVELS[machine.cpu]
    return "host" if settings.accelerator == "kvm" else settings.architecture.emulated


def _channels(paths: MachinePaths) -> list[str]:
    """Console, QMP twice (the second for commands without the lock), the guest agent and the journal."""
    return [
        "-chardev",
        f"socket,id=orch-console,path={value(paths.console)},server=on,wait=off,"
        f"logfile={value(paths.serial_log)},logappend=on",
        "-serial",
        "chardev:orch-console",
        "-chardev",
        f"socket,id=orch-qmp,path={value(paths.qmp)},server=on,wait=off",
        "-mon",
        "chardev=orch-qmp,mode=control",
        "-chardev",
        f"socket,id=orch-qmp-side,path={value(paths.qmp_side)},server=on,wait=off",
        "-mon",
        "chardev=orch-qmp-side,mode=control",
        "-device",
        "virtio-serial-pci,id=orch-serial",
        "-chardev",
        f"socket,id=orch-agent-chr,path={value(paths.agent)},server=on,wait=off",
        "-device",
        f"virtserialport,bus=orch-serial.0,chardev=orch-agent-chr,id={AGENT_DEVICE},name={AGENT_PORT}",
        "-chardev",
        f"file,id=orch-journal-chr,path={value(paths.journal)},append=on",
        "-device",
        f"virtserialport,bus=orch-serial.0,chardev=orch-journal-chr,name={JOURNAL_PORT}",
    ]


def _guards(settings: QemuSettings) -> list[str]:
    """What is told of a panic, and what QEMU itself may do."""
    arguments = [
        "-device",
        "pvpanic-pci",
        # It shows a restored kernel that it is not the only one: it reseeds its RNG.
        *(["-device", "vmgenid,guid=auto"] if settings.architecture.vmgenid else []),
        "-action",
        "panic=pause",  # a panicked guest stays, to be looked at
        "-sandbox",
        SANDBOX_OF_ROOT if settings.user else SANDBOX,
    ]
    if settings.user:
        arguments += ["-run-with", f"user={settings.user}"]
        # Else QEMU opens a disk again, read-only and back again, when its state is saved; this user may not.
        for drive in settings.drives:
            arguments += ["-set", f"drive.{drive}.auto-read-only=off"]
    return arguments


def _memory_backend(machine: Machine, memory: Memory) -> str:
    size = f"id={RAM_BLOCK},size={machine.memory}M"
    if memory.file is None:
        return f"memory-backend-ram,{size}"
    access = "share=on" if memory.shared else "share=off,readonly=on,rom=off"
    return f"memory-backend-file,{size},mem-path={value(memory.file)},{access}"


def _redirect_egress(paths: MachinePaths) -> list[str]:
    """What the guest sends to its user network takes the way over a process of ours, or none.

    The order matters: what comes back must be behind what goes out.
    """
    return [
        "-chardev",
        f"socket,id=orch-egress-in-chr,path={value(paths.egress_in)},server=on,wait=off",
        "-chardev",
        f"socket,id=orch-egress-out-chr,path={value(paths.egress_out)},server=on,wait=off",
        "-object",
        "filter-redirector,id=orch-egress-in,netdev=user.0,queue=rx,indev=orch-egress-in-chr",
        "-object",
        "filter-redirector,id=orch-egress-out,netdev=user.0,queue=rx,outdev=orch-egress-out-chr",
    ]


def writable_drives(script: str) -> list[str]:
    """The ids of a run script's ``-drive`` options that may be written to. Pure.

    >>> writable_drives('-drive file="$NIX_DISK_IMAGE",id=drive1,if=none -drive id=store,file=/s.img,readonly=on')
    ['drive1']
    """
    options = [f",{found}," for found in re.findall(r"-drive\s+(\S+)", script)]
    return [found[1] for one in options if (found := re.search(r",id=([\w.-]+),", one)) and ",readonly=on," not in one]


def net_options(machine: Machine, kept: Mapping[int, int] = MappingProxyType({})) -> str:
    """The value of QEMU_NET_OPTS: egress, and the forwards, on loopback only.

    Host port 0 lets the kernel choose; `orchestrator.vm.qmp` reads the choice back.

    Args:
        kept: guest port → host port that a machine had before and shall have again.
    """
    parts = [] if machine.egress or machine.destinations else ["restrict=on"]
    for host, guest in ((0, SSH_GUEST_PORT), *((port.host, port.guest) for port in machine.ports)):
        parts.append(f"hostfwd=tcp:127.0.0.1:{kept.get(guest, host)}-:{guest}")
    return ",".join(parts)


def kept_variables(inherited: Mapping[str, str]) -> dict[str, str]:
    """All that a process which lives with a machine gets of the caller's environment."""
    return {name: inherited[name] for name in KEPT_VARIABLES if name in inherited}


def script_environment(
    machine: Machine,
    paths: MachinePaths,
    inherited: Mapping[str, str],
    kernel_parameters: str = "",
    kept_ports: Mapping[int, int] = MappingProxyType({}),
) -> dict[str, str]:
    """The environment of the run script: ours, and only what it needs of the caller's."""
    return {
        **kept_variables(inherited),
        "NIX_DISK_IMAGE": str(paths.disk),
        "USE_TMPDIR": "1",
        "TMPDIR": str(paths.scratch),
        "QEMU_NET_OPTS": net_options(machine, kept_ports),
        "QEMU_KERNEL_PARAMS": kernel_parameters,
    }
