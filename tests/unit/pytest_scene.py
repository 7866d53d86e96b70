"""A project with a topology, whose tests are run with the pytest plugin and a fake environment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fake_environment import LOG, FakeEnvironment

# A test with pytester forgets the modules that it imported. Those with a registry must not be imported twice.
import orchestrator.api
import orchestrator.driver.environment
import orchestrator.pytest_plugin  # noqa: F401
from orchestrator import sync
from orchestrator.topology.check_kind import CHECK_KINDS
from orchestrator.topology.image_source import IMAGE_SOURCES

CHECK_KINDS.own()
IMAGE_SOURCES.own()

TOPOLOGY = """
name = "shop"
variant = "mock"
networks.lan.subnet = "192.168.1.0/24"
images.debian.debian = "server.toml"
machines.server = { image = "debian", networks.lan.address = "192.168.1.2" }
machines.client-2 = { image = "debian", networks.lan.address = "192.168.1.1" }
services.web = { machine = "server", unit = "web.service" }
variants.mock = {}
variants.full = {}
"""
# The plugin is loaded by its entry point, where it is installed.
INSTALLED = any(point.name == "orchestrator" for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "orchestrator.pytest_plugin")
OTHERS = (
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:asyncio",
    "-p",
    "no:html",
    "-p",
    "no:cov",
)


class Scene:
    """The project, and what came of its last run."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.log = pytester.path / "notes.txt"
        self.write("orchestrator.toml", TOPOLOGY)
        self.write("pytest.ini", "[pytest]\naddopts = --strict-markers\n")

    def write(self, name: str, text: str) -> Path:
        path = self.pytester.path / name
        path.write_text(text, encoding="utf-8")
        return path

    def tests(self, **modules: str) -> None:
        """Modules of tests; each has ``pytest`` and ``note``."""
        for name, text in modules.items():
            self.write(f"test_{name}.py", f"import pytest\nfrom fake_environment import note\n{text}")

    def run(self, *words: str, others: tuple[str, ...] = OTHERS) -> pytest.RunResult:
        """In this process."""
        self.log.write_text("")
        return self.pytester.runpytest_inprocess(*PLUGIN, *others, *words)

    def run_apart(self, *words: str) -> pytest.RunResult:
        """In a process of its own, with workers of their own."""
        self.log.write_text("")
        self.write("conftest.py", "import fake_environment\nfake_environment.install()\n")
        return self.pytester.runpytest_subprocess(*PLUGIN, *OTHERS, *words)

    @property
    def notes(self) -> list[str]:
        """What was noted, in order."""
        return self.log.read_text().splitlines()

    @property
    def run_folder(self) -> Path:
        [folder] = (self.pytester.path / "runs").iterdir()
        return folder

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.run_folder / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]

    def properties(self, xml: str) -> dict[str, list[tuple[str, str]]]:
        """The properties of each case in JUnit."""
        root = ElementTree.parse(self.pytester.path / xml).getroot()
        return {
            case.get("name", ""): [(one.get("name", ""), one.get("value", "")) for one in case.iter("property")]
            for case in root.iter("testcase")
        }


@pytest.fixture
def scene(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made = Scene(pytester)
    for name in [name for name in os.environ if name.startswith("ORCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(LOG, str(made.log))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))
    monkeypatch.setattr(sync.Environment, "load", FakeEnvironment.load)
    monkeypatch.setattr(sync.Environment, "attach", FakeEnvironment.attach)
    yield made
