"""The command line as a user has it: a process of its own, its folders its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cli_server import CommandServer

from orchestrator.environment.paths import EnvironmentPaths, identity_of
from orchestrator.environment.state import EnvironmentState, MachineState, StateFile
from orchestrator.process_id import ProcessId
from orchestrator.topology.load import load_topology

SERVER = CommandServer()
ROOT = Path(__file__).resolve().parents[2]

TOPOLOGY = """\
name = "tiny"
variant = "small"

[networks.lan]
kind = "vde"
subnet = "10.9.0.0/24"

[images.base]
debian = "base.toml"

[machines.alpha]
image = "base"
cpus = 1
memory = "256MiB"
networks.lan.address = "10.9.0.2"

[machines.beta]
image = "base"
cpus = 1
memory = "256MiB"
networks.lan.address = "10.9.0.3"

[services.web]
machine = "alpha"
unit = "web.service"
[services.web.checks.port]
tcp = "127.0.0.1:80"

[services.worker]
machine = "alpha"
unit = "worker.service"
depends_on = ["web"]

[variants.small]

[variants.keyed]
machines.alpha.files = [{ source = "key", target = "/run/key" }]
"""

RECIPE = 'name = "base"\nsuite = "trixie"\npackages = ["systemd"]\nsize = "1GiB"\n'


@dataclass
class Cli:
    """Runs commands in ``folder``, which holds a topology of two machines."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "orchestrator.toml").write_text(TOPOLOGY)
        (self.folder / "base.toml").write_text(RECIPE)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORCH_", "XDG_", "NO_COLOR"))}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "ORCH_STATE_DIR": str(self.folder / "state"),
            "ORCH_CACHE_DIR": str(self.folder / "cache"),
            "COLUMNS": "100",
            **self.variables,
        }

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command; one whose variables Python itself reads gets a Python of its own."""
        if any(name.startswith(("PYTHON", "LC_", "LANG")) for name in (*self.variables, *variables)):
            return self.python("-m", "orchestrator", *words, **variables)
        done = SERVER.run(words, self.folder, {**self.environment, **variables})
        out, err = done.out.decode(), done.err.decode()
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(list(words), done.code, out, err)

    def python(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @property
    def owner(self) -> str:
        """The identity of its environment ``tiny``."""
        return identity_of(self.folder / "state" / "environments" / "tiny")

    def paths(self, name: str = "tiny") -> EnvironmentPaths:
        folder = self.folder / "state" / "environments" / name
        return EnvironmentPaths(name, folder, self.folder / "sockets")

    def record(self, *, alive: bool, name: str = "tiny") -> EnvironmentPaths:
        """Leave the state of a started environment; its machines are this very process, or one that never was."""
        paths = self.paths(name)
        paths.folder.mkdir(parents=True)
        me = ProcessId.of(os.getpid())
        assert me is not None
        process = me if alive else ProcessId(me.pid, me.start_ticks + 1, me.boot_id)
        topology = load_topology(self.folder / "orchestrator.toml")
        state = EnvironmentState(
            name=name,
            topology=topology,
            run_folder=self.folder / "runs",
            phase="ready",
            owner=process,
            command="orchestrator up",
            started=0.0,
            provider="debian",
            accelerator="tcg",
            factor=10.0,
            machines={machine: MachineState(process, "image", {22: 2222}) for machine in topology.machines},
        )
        StateFile(paths.state, state)
        return paths
