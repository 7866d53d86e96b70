"""How a machine was lost, told from what it left on the host: its console, and QEMU's own words."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, MachineError, OrchestratorError
from orchestrator.log_patterns import LogPattern, find_in_console
from orchestrator.process import describe_exit, tail
from orchestrator.vm.arguments import MachinePaths

SHOWN = 15  # lines of the console
END = 60  # lines of it in which a guest's last words stand
CONTINUED = "the machine continues from a saved state"  # written into a console's log, below what led to an older end
# The kernel writes its lines behind a prompt, which has no end of its own.
BOOTED = re.compile(r"(\S+ login:) *($|\[ *[0-9]+\.)|Reached target .*(multi-user|graphical)\.target|Multi-User System")
BEGINNINGS = ("Linux version ", CONTINUED)  # nothing above such a line is of the present guest


def ended(name: str, paths: MachinePaths, code: int | None) -> MachineError:
    """Its QEMU is gone; ``code`` is known where it was our child."""
    return MachineError(
        f"QEMU of machine {name} {describe_exit(code) if code is not None else 'is gone'}",
        subject=name,
        why=_no_room(code) or "\n".join(tail(paths.qemu_log, 5)) or "it printed nothing",
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
        f"orchestrator down, then orchestrator up; the full console log is {paths.serial_log}",
    )


def last_words(paths: MachinePaths) -> LogPattern | None:
    """The fatal sign at the end of a console: what became of a guest that answers nobody.

    A panic is told by QEMU only where the guest has a driver for it; the console tells it always.
    """
    for line in reversed(tail(paths.serial_log, END)):
        if any(beginning in line for beginning in BEGINNINGS):
            return None
        sign = find_in_console(line)
        if sign is not None and sign.fatal:
            return sign
    return None


def end_of_boot(lines: list[str]) -> str:
    """What of a console's last lines shows that the guest has booted: systemd's last target, or a login prompt. Pure.

    >>> end_of_boot(["[  OK  ] Reached target multi-user.target - Multi-User System.", "debian login: "])
    'debian login:'
    >>> end_of_boot(["debian login: ", "[    0.000000] Linux version 6.12"])
    ''
    """
    for line in reversed(lines):
        if any(beginning in line for beginning in BEGINNINGS):
            return ""
        if found := BOOTED.search(line):
            return found[1] or found[0]
    return ""


def mark_new_boot(paths: MachinePaths) -> None:
    """Mark in a console's log that an earlier end of its guest is no longer true: it continues from a saved state."""
    if paths.serial_log.exists():
        with paths.serial_log.open("a", encoding="utf-8") as log:
            log.write(f"--- {CONTINUED} ---\n")


@contextmanager
def told_by_console(name: str, paths: MachinePaths) -> Iterator[None]:
    """An attempt to reach a machine: where it fails, the console may know why.

    Raises:
        MachineError: in place of any error, when the guest's last words are fatal.
    """
    try:
        yield
    except OrchestratorError as error:
        sign = last_words(paths)
        if sign is None:
            raise
        raise was_lost(name, paths, sign) from error


def was_lost(name: str, paths: MachinePaths, sign: LogPattern) -> MachineError:
    """It was lost before, and its console says how."""
    return _from_console(
        f"machine {name} is lost: {sign.explanation}",
        name,
        paths,
        f"orchestrator restart machine:{name}, or orchestrator reset",
    )


def paused(name: str, paths: MachinePaths, word: str) -> MachineError:
    """It was lost before; ``word`` is QEMU's for its state."""
    return _from_console(
        f"machine {name} is paused: QEMU reports {word}",
        name,
        paths,
        f"orchestrator restart machine:{name}, or orchestrator reset",
    )


def _from_console(what: str, name: str, paths: MachinePaths, hint: str) -> MachineError:
    said = tail(paths.serial_log, END)
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


def egress_filter_gone(machine: str, environment: str, logs: Path) -> HostError:
    """The egress filter of a machine ended by itself."""
    why = "its process ended, and nothing leaves the machine any more"
    return _helper_gone(f"the egress of {machine} is gone", why, environment, logs)


def _helper_gone(what: str, why: str, environment: str, logs: Path) -> HostError:
    return HostError(what, why=why, where=[str(logs)], hint=f"orchestrator -n {environment} down, then up")


def did_not_boot(name: str, paths: MachinePaths, limit: Deadline) -> MachineError:
    """Its agent did not open its port in time."""
    return MachineError(
        f"machine {name} did not boot within {limit}",
        subject=name,
        why="its guest agent never opened its port; the last lines of the console show how far the boot came",
        evidence=tail(paths.serial_log, SHOWN),
        where=[str(paths.serial_log)],
        hint=f"orchestrator console {name}",
    )


def _panic_lines(lines: list[str]) -> list[str]:
    """The lines that say why a kernel panicked."""
    return [line.strip() for line in lines if "panic" in line.lower() or "BUG:" in line][:3]
