"""How a machine was lost, told from what it left on the host: its console, and QEMU's own words."""

from __future__ import annotations

import signal
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, MachineError
from orchestrator.process import describe_exit, tail
from orchestrator.vm.arguments import MachinePaths

SHOWN = 15  # lines of the console


def ended(name: str, paths: MachinePaths, code: int | None) -> MachineError:
    """Its QEMU is gone; ``code`` is known where it was our child."""
    return MachineError(
        f"QEMU of machine {name} {describe_exit(code) if code is not None else 'is gone'}",
        subject=name,
        why=_no_room(code) or "\n".join(tail(paths.qemu_log, 5)) or "it said nothing",
        where=[str(paths.qemu_log), str(paths.serial_log)],
        evidence=tail(paths.serial_log, 5),
        hint="orchestrator doctor",
    )


def _no_room(code: int | None) -> str:
    # A page that the file system cannot give is a bus error.
    return "there was no room for its memory: the folder of memory files is full" if code == -signal.SIGBUS else ""


def disk_full(name: str, paths: MachinePaths) -> MachineError:
    """The file system of its overlay is full: what the guest wrote is lost, and it is told an error."""
    return MachineError(
        f"no space left for the disk of machine {name}",
        subject=name,
        why="the host's file system is full; what the guest wrote is lost",
        where=[str(paths.disk)],
        hint=f"df -h {paths.work}; then orchestrator down and up, or another ORCH_STATE_DIR",
    )


def panicked(name: str, paths: MachinePaths, why: str) -> MachineError:
    """It is lost while we look at it."""
    return _from_console(
        f"machine {name} is lost: {why}",
        name,
        paths,
        f"orchestrator down, then orchestrator up; the console's whole text is {paths.serial_log}",
    )


def stands_still(name: str, paths: MachinePaths, word: str) -> MachineError:
    """It was lost before; ``word`` is QEMU's for its state."""
    return _from_console(
        f"machine {name} stands still: QEMU says {word}",
        name,
        paths,
        f"orchestrator restart machine:{name}, or orchestrator reset",
    )


def _from_console(what: str, name: str, paths: MachinePaths, hint: str) -> MachineError:
    said = tail(paths.serial_log, 60)
    return MachineError(
        what,
        subject=name,
        why="\n".join(_panic_lines(said)),
        evidence=said[-SHOWN:],
        where=[str(paths.serial_log)],
        hint=hint,
    )


def switch_gone(network: str, environment: str, logs: Path) -> HostError:
    """The switch of a network ended by itself."""
    why = "its process ended, and the machines cannot reach each other any more"
    return _helper_gone(f"the switch of network {network} is gone", why, environment, logs)


def gate_gone(machine: str, environment: str, logs: Path) -> HostError:
    """The gate of a machine's egress ended by itself."""
    why = "its process ended, and nothing leaves the machine any more"
    return _helper_gone(f"the egress of {machine} is gone", why, environment, logs)


def _helper_gone(what: str, why: str, environment: str, logs: Path) -> HostError:
    return HostError(what, why=why, where=[str(logs)], hint=f"orchestrator -n {environment} down, then up")


def did_not_boot(name: str, paths: MachinePaths, limit: Deadline) -> MachineError:
    """Its agent did not open its port in time."""
    return MachineError(
        f"machine {name} did not boot within {limit.limit:.0f} s",
        subject=name,
        why="its guest agent never opened its port; the console's last lines tell how far it came",
        evidence=tail(paths.serial_log, SHOWN),
        where=[str(paths.serial_log)],
        hint=f"orchestrator console {name}",
    )


def _panic_lines(lines: list[str]) -> list[str]:
    """The lines that say why a kernel panicked."""
    return [line.strip() for line in lines if "panic" in line.lower() or "BUG:" in line][:3]
