"""Faults that users bring along: closed streams, odd folders, hostile patterns, large data, units that die soon."""

from __future__ import annotations

import signal
from collections.abc import Callable

from chaos_faults import (
    INTERRUPTED,
    KILL,
    QEMU,
    RUN,
    SILENT,
    TERM,
    UP,
    Fault,
    Scene,
    _inside,
    _kill,
    _nothing,
    _own,
)
from host import ROOT, edited_topology  # tests/vm: the command line as users call it

HUNG_UP = frozenset({0, 129, -1})
ODD = "a b,c'd\"e\\f%g$h ü"
HOSTILE = """exec = ["sh", "-c", "head -c 100000 /dev/zero | tr '\\\\0' a"]\nstdout = "(a+)+$b\""""
LARGE = ("cp", str(ROOT / ".venv"), "server:/root/venv")
SHORT = "/run/systemd/system/nginx.service.d"


def _streams(redirection: str) -> Callable[[Scene], tuple[str, ...]]:
    """The command with its streams as a shell puts them; the exit code is the command's."""
    return lambda _: ("bash", "-o", "pipefail", "-c", f'"$@" {redirection}', "bash")


def _odd_folders(scene: Scene) -> tuple[str, ...]:
    """Run folders and temporary files below a name that means something to every other program."""
    odd = scene.host.root / ODD
    odd.mkdir(exist_ok=True)
    return ("env", f"ORCH_RUNS={odd}", f"TMPDIR={odd}")


def _hostile_pattern(scene: Scene) -> tuple[str, ...]:
    """A topology whose check asks for a pattern that backtracking engines never come back from."""
    path = edited_topology(
        scene.host.root,
        ('exec = ["psql", "-XtAc", "select 1"]', HOSTILE),
        ('stdout = "^1$"\n\n[services.database]', "\n[services.database]"),
    )
    return ("env", f"ORCH_FILE={path}")


def _short_lived(more: str) -> Callable[[Scene], object]:
    """A unit that ends by itself two seconds after its start."""
    lines = f"[Service]\\nRuntimeMaxSec=2\\n{more}"
    return _inside(
        "server",
        f"mkdir -p {SHORT} && printf '{lines}' > {SHORT}/short.conf && systemctl daemon-reload && systemctl stop nginx",
    )


USERS: tuple[Fault, ...] = (
    Fault(
        "exec with closed input",
        _nothing,
        ("exec", "server", "--", "cat"),
        up=True,
        codes=frozenset({0}),
        before=_streams("<&-"),
    ),
    Fault("status with closed output", _nothing, ("status",), up=True, before=_streams(">&-")),
    Fault("all streams closed", _nothing, ("status", "--checks"), up=True, before=_streams("<&- >&- 2>&-")),
    Fault(
        "logs into a pipe that ends",
        _nothing,
        ("logs", "-f", "server"),
        up=True,
        codes=frozenset({0, 141}),
        before=_streams("| head -n 1 > /dev/null"),
    ),
    Fault("copy cut in the middle", _own(TERM), LARGE, up=True, codes=INTERRUPTED, moments=6),
    Fault("QEMU SIGKILL during a large copy", _kill(KILL, *QEMU), LARGE, up=True, cause=SILENT, moments=6),
    Fault(
        "QEMU SIGKILL during a large output",
        _kill(KILL, *QEMU),
        ("exec", "server", "--", "head", "-c", "1G", "/dev/zero"),
        up=True,
        cause=SILENT,
        moments=6,
    ),
    Fault("orchestrator SIGHUP during up", _own(signal.SIGHUP), UP, codes=HUNG_UP, cause="interrupted"),
    Fault("orchestrator SIGHUP during run", _own(signal.SIGHUP), RUN, codes=HUNG_UP, cause="interrupted", moments=12),
    Fault("hostile pattern", _nothing, UP, cause=r"postgresql .*is not up", before=_hostile_pattern, within=400),
    Fault("odd folders", _nothing, UP, codes=frozenset({0}), before=_odd_folders),
    Fault("a unit that lives two seconds", _short_lived(""), up=True, cause="nginx"),
    Fault("a unit that is always started again", _short_lived("Restart=always\\n"), up=True, cause="nginx"),
)
