"""A project of `orchestrator init`: READY as it is, its own tests pass, a changed application needs no new image."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from conftest import MEASURES, opened
from host import ROOT, Host

# The plugin is loaded by its entry point, where it is installed.
INSTALLED = any(point.name == "orchestrator" for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "orchestrator.pytest_plugin")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A web application behind nginx on one machine, READY."""
    root = tmp_path_factory.mktemp("init")
    with opened(root, root / "shop" / "orchestrator.toml") as host:
        host.run("init", "--template", "web", str(root / "shop")).expect(0)
        built = host.run("images", "build", limit=1800).expect(0)
        up = host.run("up", limit=600).expect(0, "READY")
        MEASURES.append(f"init --template web: image {built.seconds:.1f} s, up {up.seconds:.1f} s")
        yield host


def test_its_own_tests_pass_on_the_running_machine(project: Host) -> None:
    folder = project.topology.parent
    argv = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "--rootdir=.", "--orch-attach="]
    environment = project.environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_second_start_is_a_warm_one(project: Host) -> None:
    project.run("down").expect(0)
    again = project.run("up", "--warm", limit=300).expect(0, "READY")
    MEASURES.append(f"init --template web: second up {again.seconds:.1f} s")


def test_a_changed_application_is_there_and_no_image_is_built(project: Host) -> None:
    program = project.topology.parent / "app" / "app.py"
    program.write_text(program.read_text().replace("Hello from shop", "Hello again"))
    project.run("down").expect(0)
    changed = project.run("up", limit=300).expect(0, "READY", "!image server: building")
    MEASURES.append(f"init --template web: up after a change of the application {changed.seconds:.1f} s")
    assert "Hello again" in project.guest("server", "curl -sf http://127.0.0.1/")


def test_what_init_wrote_stays(project: Host, tmp_path: Path) -> None:
    before = project.topology.read_text()
    project.run("init", "--template", "empty", str(project.topology.parent)).expect(2, "orchestrator.toml")
    assert project.topology.read_text() == before
