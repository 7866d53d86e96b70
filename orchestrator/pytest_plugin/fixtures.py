"""The fixtures that do not depend on the topology. Those of its machines are made in `machines`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.pytest_plugin.holder import HOLDER

if TYPE_CHECKING:
    from orchestrator import api
    from orchestrator.sync import Environment, Machine


@pytest.fixture(scope="session")
def orchestrator_variant(request: pytest.FixtureRequest) -> str | None:
    """The variant of the topology that the marker `orchestrator` names; None: the one of the options."""
    return getattr(request, "param", None)


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest, orchestrator_variant: str | None) -> Environment:
    """The environment of the topology, up and proven: an `orchestrator.sync.Environment`."""
    return request.config.stash[HOLDER].use(orchestrator_variant)


@pytest.fixture
def fresh_environment(request: pytest.FixtureRequest, environment: Environment) -> Environment:
    """The environment after a reset: nobody has used the machines since."""
    request.config.stash[HOLDER].make_fresh(request.node)
    return environment


@pytest.fixture(scope="session")
def async_environment(environment: Environment) -> api.Environment:
    """The same environment for async tests, as an `orchestrator.api.Environment`. Any event loop may use it."""
    from orchestrator.api import Environment as AsyncEnvironment

    return AsyncEnvironment._of(environment._core)


@pytest.fixture
def orchestrator_machine(request: pytest.FixtureRequest, environment: Environment) -> Machine:
    """What `machine` gives; the plugin parametrises it."""
    return environment[request.param]


@pytest.fixture
def machine(orchestrator_machine: Machine) -> Machine:
    """Each machine that the marker `machine` names, else each of the topology; one test for each."""
    return orchestrator_machine
