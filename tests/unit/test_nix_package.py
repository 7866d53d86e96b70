"""The Nix package of the orchestrator has what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from orchestrator import __version__

ROOT = Path(__file__).parents[2]
PACKAGE = (ROOT / "nixos-images/packages/orchestrator.nix").read_text()


def test_the_dependencies_are_those_of_pyproject() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[><=]", one)[0].replace(".", "-") for one in wanted}
    listed = re.search(r"dependencies = with python3Packages; \[\n(.*?)\];", PACKAGE, re.DOTALL)
    assert listed is not None
    assert set(listed[1].split()) == names


def test_the_version_is_found_where_it_stands() -> None:
    pattern = r'.*__version__ = "([^"]+)".*'  # as the package has it
    assert pattern.replace('"', '\\"') in PACKAGE
    found = re.fullmatch(pattern, (ROOT / "orchestrator/__init__.py").read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == __version__
