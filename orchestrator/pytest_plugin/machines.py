"""A fixture for each machine of the topology."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.driver.shell import python_name

if TYPE_CHECKING:
    from orchestrator.sync import Environment, Machine


def make_fixtures(names: Iterable[str], taken: frozenset[str]) -> tuple[ModuleType, list[str]]:
    """A plugin with the fixtures, and a sentence for each machine that gets none.

    Args:
        taken: the names of other fixtures.
    """
    made, refused = ModuleType("orchestrator_machines"), []
    for name in names:
        fixture = python_name(name)
        if fixture in taken or keyword.iskeyword(fixture) or hasattr(made, fixture):
            why = "is a word of Python" if keyword.iskeyword(fixture) else "is a fixture already"
            refused.append(f'machine {name} has no fixture of its own: {fixture} {why}; use environment["{name}"]')
        else:
            setattr(made, fixture, _fixture(name, fixture))
    return made, refused


def _fixture(name: str, fixture: str) -> Any:
    def machine_of_the_topology(environment: Environment) -> Machine:
        return environment[name]

    machine_of_the_topology.__doc__ = f"The machine {name} of the topology."
    return pytest.fixture(scope="session", name=fixture)(machine_of_the_topology)


def taken_names(config: pytest.Config) -> frozenset[str]:
    """The names of the fixtures of pytest and of plugins. Those of conftest files are to replace ours."""
    found = {"request"}
    for plugin in config.pluginmanager.get_plugins():
        if str(getattr(plugin, "__file__", "")).endswith("conftest.py"):
            continue
        for name in dir(plugin if isinstance(plugin, ModuleType) else type(plugin)):
            try:
                value = getattr(plugin if isinstance(plugin, ModuleType) else type(plugin), name)
            except Exception:  # noqa: BLE001, S112 - a descriptor of somebody else
                continue
            marker = getattr(value, "_fixture_function_marker", None) or getattr(value, "_pytestfixturefunction", None)
            if marker is not None and hasattr(marker, "autouse"):
                found.add(str(marker.name or name))
    return frozenset(found)
