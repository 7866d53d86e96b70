"""The effective file and the recorded data give the topology back, exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from topology_samples import ALICIA, GOLDEN, write

from orchestrator.errors import TopologyError
from orchestrator.services.checks.http import HttpCheck
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.load import load_topology, load_variants
from orchestrator.topology.model import Check, Topology
from orchestrator.topology.values import TOKEN

EVERY = GOLDEN / "every-table.toml"


def again(topology: Topology) -> Topology:
    """What its effective file loads as."""
    file = topology.path.with_name("effective.toml")
    file.write_text(to_toml(topology), encoding="utf-8")
    return replace(load_topology(file), path=topology.path, variants=topology.variants)


@pytest.mark.parametrize("source", [ALICIA, EVERY], ids=["alicia", "every-table"])
def test_both_forms_of_every_variant(source: Path, tmp_path: Path) -> None:
    for topology in load_variants(write(tmp_path, source.read_text(encoding="utf-8"))).values():
        assert again(topology) == topology
        assert from_dict(json.loads(json.dumps(to_dict(topology)))) == topology


def test_the_effective_file_of_the_full_variant(tmp_path: Path) -> None:
    topology = load_topology(write(tmp_path, EVERY.read_text(encoding="utf-8")))
    assert to_toml(topology) == (GOLDEN / "every-table.effective.toml").read_text(encoding="utf-8")


def test_paths_outside_stay_absolute(tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other, "")
    topology = load_topology(
        write(tmp_path / "one", ALICIA.read_text(encoding="utf-8")), layers={"app": other / "standin"}
    )
    assert f'source = "{other}/standin"' in to_toml(topology)
    assert 'path = "suite"' in to_toml(topology)
    layers = {"app": replace(topology.layers["app"], replaced=False)}
    assert again(topology) == replace(topology, layers=layers)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
scalars = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), texts
)
bodies = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(
    st.dictionaries(texts, bodies, max_size=4),
    texts,
    st.dictionaries(st.from_regex(TOKEN, fullmatch=True), texts, max_size=3),
    st.floats(0.001, 86400),
)
def test_any_text_and_any_body_survive(
    tmp_path_factory: pytest.TempPathFactory, body: dict[str, Any], contains: str, headers: dict[str, str], limit: float
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    topology = load_topology(write(folder, EVERY.read_text(encoding="utf-8")))
    check = Check(
        "it",
        "server",
        HttpCheck("https://a", json=body, contains=contains, headers=headers, verify=False),
        timeout=limit,
    )
    service = replace(topology.services["second"], checks=(check,))
    topology = replace(topology, services={**topology.services, "second": service})
    assert repr(again(topology)) == repr(topology)
    assert repr(from_dict(json.loads(json.dumps(to_dict(topology))))) == repr(topology)


def test_data_of_another_version(tmp_path: Path) -> None:
    topology = load_topology(write(tmp_path, EVERY.read_text(encoding="utf-8")))
    data: Any = to_dict(topology)
    data["later"] = 1
    del data["machines"]["server"]["egress"]
    read = from_dict(data)
    assert read.machines["server"] == replace(topology.machines["server"], egress=False)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("name",), None, "topology.name holds NoneType data"),
        (("machines", "server", "cpus"), "2", "topology.machines.server.cpus holds str data"),
        (("machines", "server", "cpus"), True, "topology.machines.server.cpus holds bool data"),
        (("services", "second", "kind"), "demon", "topology.services.second.kind: 'demon' is not a valid ServiceKind"),
        (("networks", "lan", "subnet"), "x", "topology.networks.lan.subnet: Expected 4 octets in 'x'"),
        (("services",), [], "topology.services holds list data"),
    ],
)
def test_damaged_data_is_explained(path: tuple[str, ...], value: object, why: str, tmp_path: Path) -> None:
    data: Any = to_dict(load_topology(write(tmp_path, EVERY.read_text(encoding="utf-8"))))
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(TopologyError) as caught:
        from_dict(data)
    assert why in caught.value.why
    del place[path[-1]]
    if path[-1] not in ("cpus",):
        with pytest.raises(TopologyError, match="damaged"):
            from_dict(data)
