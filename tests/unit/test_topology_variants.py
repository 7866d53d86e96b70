"""Variants: merged over the file, removing parts of it, with problems where they were written."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_samples import ALICIA, completed, problems, write

from orchestrator.services.checks.tcp import TcpCheck
from orchestrator.topology.load import load_topology, load_variants
from orchestrator.topology.model import Condition, Dependency

BASE = """\
name = "shop"

[services.a]
machine = "server"
unit = "a.service"
kind = "oneshot"
[services.b]
machine = "server"
unit = "b.service"
depends_on = ["a"]
[services.c]
machine = "server"
unit = "c.service"
depends_on.b.condition = "service_started"
[services.d]
machine = "server"
unit = "d.service"
depends_on = ["b", "c"]
[services.d.checks.port]
tcp = "127.0.0.1:1"
[services.d.checks.page]
http = "http://127.0.0.1/"

"""


def variant(path: Path, text: str) -> Path:
    return write(path, completed(f"{BASE}[variants.v]\n{text}\n"))


def test_the_default_the_option_and_none(tmp_path: Path) -> None:
    file = write(tmp_path, ALICIA.read_text(encoding="utf-8"))
    assert load_topology(file).variant == "mock"
    full = load_topology(file, variant="full")
    assert full.machines["server"].egress
    assert not full.machines["client"].egress
    assert "mock-llm" not in full.services
    plain = load_topology(variant(tmp_path / "plain", 'services.a.timeout = "2s"'))
    assert (plain.variant, plain.variants, plain.services["a"].timeout) == ("", ("v",), 60.0)
    assert problems(file, variant="ful") == [
        '--variant: "ful" is not defined (did you mean "full"?); the file\'s variants are mock, minimal, full'
    ]
    file = write(tmp_path, completed(""))
    assert problems(file, variant="v") == ['--variant: "v" is not defined; the file has no variants']


def test_tables_are_merged_and_other_values_replaced(tmp_path: Path) -> None:
    text = 'services.d.checks.port.timeout = 9\nservices.d.depends_on = ["a"]\nservices.e = '
    text += '{ machine = "server", unit = "e.service" }'
    topology = load_topology(variant(tmp_path, text), variant="v")
    port, page = topology.services["d"].checks
    assert (port.spec, port.timeout, page.timeout) == (TcpCheck("127.0.0.1:1"), 9.0, 5.0)
    assert topology.services["d"].depends_on == (Dependency("a", Condition.COMPLETED),)
    assert topology.services["e"].unit == "e.service"


def test_dependants_of_a_removed_service_inherit_its_dependencies(tmp_path: Path) -> None:
    services = load_topology(variant(tmp_path, 'services.b = "absent"'), variant="v").services
    assert services["c"].depends_on == (Dependency("a", Condition.COMPLETED),)
    assert services["d"].depends_on == (Dependency("c"), Dependency("a", Condition.COMPLETED))


def test_chains_of_removed_services_are_bridged(tmp_path: Path) -> None:
    text = 'services.b = "absent"\nservices.c = "absent"'
    services = load_topology(variant(tmp_path, text), variant="v").services
    assert services["d"].depends_on == (Dependency("a", Condition.COMPLETED),)


def test_removed_services_that_wait_for_each_other(tmp_path: Path) -> None:
    text = 'services.b = "absent"\nservices.c = "absent"'
    file = write(
        tmp_path, completed(BASE.replace('depends_on = ["a"]', 'depends_on = ["a", "c"]') + f"[variants.v]\n{text}\n")
    )
    assert len(problems(file)) == 1
    services = load_topology(file, variant="v").services
    assert services["d"].depends_on == (Dependency("a", Condition.COMPLETED),)


def test_a_written_condition_wins_over_an_inherited_one(tmp_path: Path) -> None:
    text = 'services.b = "absent"\nservices.c.depends_on.a.condition = "service_started"'
    services = load_topology(variant(tmp_path, text), variant="v").services
    assert services["c"].depends_on == (Dependency("a", Condition.STARTED),)


def test_checks_and_dependencies_and_ports_are_removed(tmp_path: Path) -> None:
    text = 'services.d.checks.port = "absent"\nservices.c.depends_on.b = "absent"\nservices.d.depends_on = "absent"'
    services = load_topology(variant(tmp_path, text), variant="v").services
    assert [check.name for check in services["d"].checks] == ["page"]
    assert services["c"].depends_on == services["d"].depends_on == ()
    file = write(
        tmp_path, ALICIA.read_text(encoding="utf-8") + '\n[variants.closed]\nmachines.server.ports = "absent"\n'
    )
    assert load_topology(file, variant="closed").machines["server"].ports == ()


def test_phases_do_not_stop_what_is_not_there(tmp_path: Path) -> None:
    text = ALICIA.read_text(encoding="utf-8") + '\n[variants.static.services]\nbackend = "absent"\n'
    topology = load_topology(write(tmp_path, text), variant="static")
    assert topology.suite is not None
    assert [phase.stop for phase in topology.suite.phases] == [(), ()]
    assert [each.service for each in topology.services["nginx"].depends_on] == [
        "migrations",
        "mock-llm",
        "mock-livekit",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('services.bb = "absent"', '25:15: "bb" is not in services, so it cannot be removed (did you mean "b"?)'),
        ('services.a.kind = "onshot"', '25:19: "kind" in service "a": expected one of daemon, oneshot, target, found'),
        ('services.a.kind = "gate"', '25:19: "kind" in service "a": "gate" is called "target" now'),
        ("services.a.tiemout = 3", '25:12: "tiemout" is not a key of service "a" (did you mean "timeout"?)'),
        ('name = "other"', '25:1: "name" cannot be changed by a variant'),
        ('services.b.depends_on = ["d"]', "25:26: services wait for each other: b → d → b"),
        ('images.client = "absent"', '41:9: image "client" in machine "client" was removed by the variant'),
        ('services.a.timeout = "absent"', '25:22: "timeout" in service "a": expected seconds'),
    ],
)
def test_problems_point_to_where_the_value_was_written(text: str, line: str, tmp_path: Path) -> None:
    file = variant(tmp_path, text)
    load_topology(file)
    found = problems(file, variant="v")
    assert any(each.startswith(f"orchestrator.toml:{line}") for each in found), found


def test_all_variants_are_checked_together(tmp_path: Path) -> None:
    text = f"{BASE}[variants.v]\nservices.a.timeout = 0\n[variants.w]\nservices.b.timeout = 0\n"
    file = write(tmp_path, completed(text))
    with pytest.raises(Exception, match="2 problems"):
        load_variants(file)
    good = write(tmp_path, ALICIA.read_text(encoding="utf-8"))
    assert list(load_variants(good)) == ["mock", "minimal", "full"]
