"""`[faults.NAME]`: read with every mistake and its line, written again, used by phases, made on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_scene import topology
from topology_samples import completed, one, problems, write

from orchestrator.errors import UsageError
from orchestrator.faults.kinds.latency import Latency
from orchestrator.faults.kinds.partition import Partition
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.fault_kind import FAULT_KINDS
from orchestrator.topology.load import load_topology
from orchestrator.topology.read_faults import described, made_of, services_hit, spots, toml_lines

SLOW = '[faults.slow]\nkind = "latency"\non = "server.lan"\n'
SUITE = '[suite]\nmachine = "client"\npath = "suite"\ncommand = ["it"]\nuser = "test"\n'


def test_a_fault_is_read_with_the_keys_of_its_kind(tmp_path: Path) -> None:
    text = SLOW + 'delay = "100ms"\njitter = 0.02\nfor = "10s"\nat = 2\nrecovers_within = "1m"\n'
    fault = topology(tmp_path, text).faults["slow"]
    assert isinstance(fault.spec, Latency)
    assert (fault.spec.delay, fault.spec.jitter, fault.spec.direction) == (0.1, 0.02, "both")
    assert (fault.on, fault.lasts, fault.at, fault.recovers_within) == ("server.lan", 10.0, 2.0, 60.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SLOW, 'fault "slow" has no "delay"'),
        (SLOW + 'delay = "2m"', "expected at most 60s"),
        (SLOW + 'delay = "10ms"\njitter = "20ms"', "no frame comes before it was sent"),
        (SLOW + "delay = 1\npercent = 3", '"percent" is not a key of fault "slow"'),
        ('[faults.slow]\nkind = "latncy"\non = "server"', 'there is no fault "latncy" (did you mean "latency"?)'),
        ('[faults.a]\nkind = "pause"\non = "serve"', 'machine "serve" is not defined (did you mean "server"?)'),
        ('[faults.a]\nkind = "kill"\non = "server"', 'service "server" is not defined'),
        ('[faults.a]\nkind = "disconnect"\non = "server.wan"', 'machine "server" is not in network "wan"'),
        ('[faults.a]\nkind = "partition"\non = "wan"\ngroups = [["server"]]', 'network "wan" is not defined'),
        ('[faults.a]\nkind = "partition"\non = "lan"\ngroups = [3]', "expected the machines of a group"),
        ('[faults.a]\nkind = "loss"\non = "server"\npercent = 101', "above 0 and up to 100"),
        ('[faults.a]\nkind = "bandwidth"\non = "server"\nrate = "10"', "expected a rate"),
        ('[faults.a]\nkind = "bandwidth"\non = "server"\nrate = "1gbit"', "passes 200mbit at most"),
        ('[faults.a]\nkind = "clock-skew"\non = "server"\noffset = "later"', "expected a time other than 0"),
        ('[faults.a]\nkind = "disk-slow"\non = "server"', 'needs "bytes_per_second" or "iops"'),
    ],
)
def test_a_mistake_is_told(text: str, told: str, tmp_path: Path) -> None:
    assert told in one(tmp_path, text)


def test_a_mistake_has_its_line(tmp_path: Path) -> None:
    lines = problems(write(tmp_path, completed(SLOW + 'delay = "never"\n')))
    assert [line.split(": ")[0] for line in lines] == ["orchestrator.toml:5:9"]


def test_a_target_has_no_unit_that_could_be_killed(tmp_path: Path) -> None:
    text = '[services.point]\nmachine = "server"\nkind = "target"\ndepends_on = ["web"]\n'
    assert "it has no unit" in one(tmp_path, text + '[faults.a]\nkind = "kill"\non = "point"\n')


def test_a_phase_names_faults_and_never_takes_its_own_machine_away(tmp_path: Path) -> None:
    phases = '[[suite.phases]]\nname = "one"\nfaults = ["slow"]\n'
    found = topology(tmp_path, SLOW + "delay = 1\n" + SUITE + phases)
    assert found.suite is not None
    assert found.suite.phases[0].faults == ("slow",)
    assert 'fault "slwo" in phase 1 of the suite is not defined (did you mean "slow"?)' in one(
        tmp_path, SLOW + "delay = 1\n" + SUITE + phases.replace("slow", "slwo")
    )
    pause = '[faults.slow]\nkind = "pause"\non = "client"\n'
    assert "which runs the tests" in one(tmp_path, pause + SUITE + phases)


def test_faults_are_written_and_recorded_as_they_are(tmp_path: Path) -> None:
    text = (
        SLOW + 'delay = 1\nfor = 3\n[faults.cut]\nkind = "partition"\non = "lan"\ngroups = [["server"], ["client"]]\n'
    )
    found = topology(tmp_path, text + SUITE + '[[suite.phases]]\nname = "one"\nfaults = ["slow"]\n')
    again = tmp_path / "again.toml"
    again.write_text(to_toml(found))
    assert load_topology(again).faults == found.faults
    assert from_dict(to_dict(found)).faults == found.faults


def test_a_fault_on_what_a_variant_removes_is_left_out(tmp_path: Path) -> None:
    text = '[faults.dies]\nkind = "kill"\non = "web"\n' + SUITE + '[[suite.phases]]\nname = "one"\nfaults = ["dies"]\n'
    file = write(
        tmp_path, completed(text) + '[variants.all]\n[variants.few]\nservices.web = "absent"\nfaults.dies = "absent"\n'
    )
    assert load_topology(file, variant="few").faults == {}
    assert list(load_topology(file, variant="all").faults) == ["dies"]


def test_places_and_the_services_that_are_hit(tmp_path: Path) -> None:
    found = topology(tmp_path, SLOW + 'delay = 1\n[faults.dies]\nkind = "kill"\non = "web"\n')
    link = spots(found.faults["slow"], found)
    assert [(spot.machine, spot.link and spot.link.network) for spot in link] == [("server", "lan")]
    assert [spot.unit for spot in spots(found.faults["dies"], found)] == ["web.service"]
    assert services_hit(found.faults["slow"], found) == ("web",)
    cut = made_of("partition", "lan", ['groups = [["server"], ["client"]]'], found)
    assert {spot.machine for spot in spots(cut, found)} == {"client", "server"}


def test_three_machines_are_cut_into_a_majority_and_one_alone() -> None:
    cut = Partition(groups=(("a", "b"),))
    addresses = {"a": "aa", "b": "bb", "c": "cc"}
    others = {name: {key: mac for key, mac in addresses.items() if key != name} for name in addresses}
    assert {name: cut.unreached(name, others[name]) for name in addresses} == {
        "a": ("cc",),
        "b": ("cc",),
        "c": ("aa", "bb"),
    }


def test_one_of_the_command_line_is_named_after_what_it_does(tmp_path: Path) -> None:
    found = topology(tmp_path, "")
    fault = made_of("latency", "server.lan", toml_lines({"delay": "100ms"}), found)
    assert (fault.name, fault.kind) == ("latency-server-lan", "latency")
    assert described(fault.spec) == "direction both, delay 0.1, distribution uniform"
    with pytest.raises(UsageError) as caught:
        made_of("latency", "server.lan", ["dleay = 1"], found)
    assert any('"dleay" is not a key' in line and "delay" in line for line in caught.value.evidence)


@pytest.mark.parametrize("name", FAULT_KINDS.own_names())
def test_each_kind_has_an_example_that_loads_and_fits_the_others(name: str, tmp_path: Path) -> None:
    kind = FAULT_KINDS.own()[name]
    others = {other: each for other, each in FAULT_KINDS.own().items() if other != name}
    assert kind.unfit(name, others) == ""
    assert kind.meaning
    assert kind.engine
    for number, example in enumerate(kind.examples):
        found = topology(tmp_path / str(number), f'[faults.it]\nkind = "{name}"\n{example}\n')
        assert found.faults["it"].kind == name
