"""State, runs, memory and temporary folders whose name holds what other programs give a meaning."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Shared, opened
from host import HERE, RAM, Host

ODD = "a b,,c'd\"e\\f%g$hü\nz"


@pytest.fixture
def odd(shared: Shared, tmp_path: Path) -> Iterator[Host]:
    """A host of such folders. It starts from the shared environment's saved state, wherever that lies."""
    with opened(tmp_path / ODD, HERE / "orchestrator.toml") as host:
        (host.root / "tmp").mkdir()
        yield host


def test_everything_works_there(odd: Host, tmp_path: Path) -> None:
    extra = {"TMPDIR": str(odd.root / "tmp"), "XDG_RUNTIME_DIR": str(odd.runtime)}
    odd.run("up", limit=600, **extra).expect(0, "READY")
    assert odd.latest.is_relative_to(odd.root) and (odd.latest / "machines/server/serial.log").stat().st_size > 0
    assert odd.guest("server", "hostname") == "server\n"
    config = odd.root / "state/environments/vm-tests/ssh.config"
    assert odd.run("ssh-config", "--path").expect(0).stdout == f"{config}\n"
    shown = subprocess.run(
        ["ssh", "-F", str(config), "client", "hostname"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert shown.stdout == "client\n", shown.stderr
    file = odd.root / "a file, it's"
    file.write_text("content\n")
    odd.run("cp", str(file), "client:/tmp/copied").expect(0)
    assert odd.guest("client", "cat /tmp/copied") == "content\n"
    odd.run("snapshot", "save", "here", limit=120).expect(0)
    odd.guest("client", "rm /tmp/copied")
    odd.run("reset", "here", limit=200).expect(0, "READY")
    assert odd.guest("client", "cat /tmp/copied") == "content\n"
    odd.run("snapshot", "rm", "here").expect(0)
    assert odd.run("status").expect(0).stdout.startswith("vm-tests: ready")
    odd.run("down").expect(0)
    odd.assert_nothing_left(within=2)
    assert not list((odd.root / "tmp").iterdir()), "no temporary file either"
    assert not list(Path(f"/var/tmp/orch-{os.getuid()}").glob("*")), "nor a disk elsewhere"
    assert RAM.is_dir()
    shutil.rmtree(odd.root)
