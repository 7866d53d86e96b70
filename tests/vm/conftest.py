"""Real machines for these tests: one environment shared by all, its evidence kept when a test fails."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from host import HERE, RAM, ROOT, Done, Host, second_phase

KEPT = ROOT / "build" / "vm-failures"  # evidence of failed tests
HOSTS: list[Host] = []
MEASURES: list[str] = []  # lines of measured values, shown at the end


@contextmanager
def opened(root: Path, topology: Path) -> Iterator[Host]:
    """A host whose evidence is kept when a test fails, and on which nothing runs afterwards."""
    host = Host(root, topology)
    HOSTS.append(host)
    try:
        yield host
    finally:
        HOSTS.remove(host)
        host.close()


@dataclass(frozen=True, slots=True)
class Shared:
    """The environment most tests look at; ``up`` is how its first command went."""

    host: Host
    up: Done


@pytest.fixture(scope="session", autouse=True)
def images(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Both images in the cache, so that no test's limit has to allow for their building."""
    host = Host(tmp_path_factory.mktemp("images"), HERE / "orchestrator.toml")
    host.run("images", "build", limit=3600).expect(0)
    host.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Server and client, READY. A test that breaks something repairs it and proves READY again."""
    with opened(tmp_path_factory.mktemp("shared"), HERE / "orchestrator.toml") as host:
        done = host.run("up", limit=600)
        if done.code != 0:
            keep(host, "shared-up")
            done.expect(0)
        yield Shared(host, done)


@pytest.fixture
def vm(shared: Shared) -> Host:
    """The shared environment."""
    return shared.host


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host on which nothing runs yet."""
    with opened(tmp_path_factory.mktemp("bare"), HERE / "orchestrator.toml") as host:
        yield host


@pytest.fixture(scope="module")
def one_phase() -> Iterator[Path]:
    """Our topology with the first phase only: each costs an emulated client half a minute before its first test."""
    text = (HERE / "orchestrator.toml").read_text()
    path = HERE / f".one-phase-{os.getpid()}.toml"  # beside it, so that all relative paths are the same
    path.write_text(text.replace(second_phase(), ""))
    try:
        yield path
    finally:
        path.unlink()


def keep(host: Host, name: str) -> Path | None:
    """Copy the latest run folder to where it outlives the tests."""
    if not (host.runs / "latest").exists():
        return None
    target = KEPT / re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(host.latest, target, symlinks=True)
    return target


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("durations") is None:
        config.option.durations = 15


def pytest_sessionfinish() -> None:
    shutil.rmtree(RAM, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in MEASURES:
        terminalreporter.write_line(f"measured: {line}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vm)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say where the evidence of a failed test was put."""
    report = yield
    if report.failed:
        for host in HOSTS:
            place = keep(host, f"{item.name}-{host.root.name}")
            if place is not None:
                report.sections.append(("run folder", f"kept in {place}"))
    return report
