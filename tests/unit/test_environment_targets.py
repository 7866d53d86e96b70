"""What the words of `restart` mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_samples import completed, write

from orchestrator.environment.targets import machines_of, services_of
from orchestrator.errors import UsageError
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology

# A service that is named like a machine, and one on either machine.
TEXT = """
[services.client]
machine = "client"
unit = "client.service"

[services.api]
machine = "server"
unit = "api.service"

[services.web]
machine = "server"
unit = "web.service"
"""


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    return load_topology(write(tmp_path, completed(TEXT)))


@pytest.mark.parametrize(
    ("words", "services", "machines"),
    [
        (["web"], ("web",), []),
        (["web", "api"], ("api", "web"), []),  # in the topology's order
        (["server"], ("api", "web"), ["server"]),
        (["client"], ("client",), []),  # the service, since both have the name
        (["machine:client"], ("client",), ["client"]),
        (["machine:server", "web"], ("api", "web"), ["server"]),
        ([], (), []),
    ],
)
def test_names(topology: Topology, words: list[str], services: tuple[str, ...], machines: list[str]) -> None:
    assert services_of(topology, words) == services
    assert machines_of(topology, words) == machines


def test_every_wrong_name_is_told_with_those_there_are(topology: Topology) -> None:
    with pytest.raises(UsageError, match=r"no service or machine is named wbe, machine:web") as caught:
        services_of(topology, ["wbe", "server", "machine:web"])
    assert caught.value.why == "known names are client, api, web, machine:server, machine:client"
