"""`run --clones`: names, what is refused, what the clones are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_parts import machine

from orchestrator.cli.arguments import build_parser
from orchestrator.cli.clones import at_once, clone_names, options, refused
from orchestrator.environment.admission import memory_shortage
from orchestrator.topology.load import load_topology

ROOT = Path(__file__).parents[2]


def test_all_reasons_are_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path))
    words = ["run", "--clones", "12", "--fresh", "--keep", "always", "--shard", "1/2"]
    problems = refused(build_parser().parse_args(words), clone_names("a-name-of-twenty-nine-letters", 12))
    assert len(problems) == 4
    for word in ("--fresh", "--shard", "--keep", "a-name-of-twenty-nine-letters-12 is too long"):
        assert any(word in problem for problem in problems)
    assert refused(build_parser().parse_args(["run", "--clones", "2"]), clone_names("t", 2)) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--clones", "1"],
        ["--clones", "65"],
        ["--clones", "x"],
        ["--shard", "3/2"],
        ["--shard", "0/2"],
        ["--shard", "1"],
    ],
)
def test_numbers_that_mean_nothing_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["run", *words])
    assert caught.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_a_clone_is_told_what_we_were_told() -> None:
    arguments = build_parser().parse_args(
        ["run", "--clones", "2", "--file", "my topology.toml", "--grep", "-x y", "--suite", "s", "--variant", "full"]
    )
    assert options(arguments, ("variant", "layer", "suite", "grep", "kernel_parameters")) == [
        "--file",
        "my topology.toml",
        "--variant=full",
        "--suite=s",
        "--grep=-x y",
    ]


def test_ports_of_clones_are_free_ones() -> None:
    topology = load_topology(ROOT / "tests/vm/orchestrator.toml")
    ports = [port for machine in topology.with_free_ports().machines.values() for port in machine.ports]
    assert ports and all(port.host == 0 for port in ports)


def test_clones_need_a_third_of_their_memory() -> None:
    two = [machine("server", memory=1000), machine("client", memory=2000)]
    assert memory_shortage(two, 3000 + 2 * 128 + 256) == ""
    assert memory_shortage(two, 3000) != ""
    assert memory_shortage(two, 3000 + 2 * 128 + 256, times=2) != "", "machines that are saved share nothing"
    assert memory_shortage(two, 4 * (1050 + 2 * 128) + 256, times=4, shared=True) == ""
    told = memory_shortage(two, 4 * (1050 + 2 * 128) + 255, times=4, shared=True)
    assert "need 5480 MiB of memory (4 times server 478 MiB, client 828 MiB, 256 MiB for the host)" in told


def test_as_many_run_at_once_as_the_processors_carry() -> None:
    topology = load_topology(ROOT / "tests/vm/orchestrator.toml")  # two machines of two processors
    assert [at_once(cores, topology, emulated=True) for cores in (1, 2, 4, 8, 64)] == [2, 2, 2, 4, 32]
    assert [at_once(cores, topology, emulated=False) for cores in (1, 2, 4, 64)] == [2, 4, 8, 128]
