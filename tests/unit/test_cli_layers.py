"""Folders given for layers on the command line: `--layer`, its short form `--app`, and what commands say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_process import Cli
from topology_parts import machine, topology

from orchestrator.driver import environment as module
from orchestrator.driver.environment import Environment
from orchestrator.environment.plan import Request
from orchestrator.errors import UsageError


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    for name in ("own", "other"):
        (made.folder / name).mkdir()
    file = made.folder / "orchestrator.toml"
    layers = "".join(
        f'[layers.{name}]\nsource = "own"\ntarget = "/opt/{name}"\n\n' for name in ("app", "data", "nobodys")
    )
    text = file.read_text().replace("[services.web]", f'{layers}[services.web]\nuses = ["app", "data"]', 1)
    file.write_text(text)
    return made


def sources(cli: Cli, *words: str) -> dict[str, str]:
    done = cli("config", "--json", *words)
    assert done.returncode == 0, done.stderr
    return {name: layer["source"] for name, layer in json.loads(done.stdout)["layers"].items()}


def test_a_folder_takes_the_place_of_the_source(cli: Cli) -> None:
    own, other = str(cli.folder / "own"), str(cli.folder / "other")
    assert sources(cli) == {"app": own, "data": own, "nobodys": own}
    assert sources(cli, "--app", other) == sources(cli, f"--layer=app={other}")
    assert sources(cli, "--app", other)["app"] == other
    both = sources(cli, "--app", other, "--layer", f"data={other}")
    assert both == {"app": other, "data": other, "nobodys": own}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--layer", "app"), "'app' is not a layer and a folder; write NAME=DIR"),
        (("--layer", "=x"), "'=x' is not a layer and a folder; write NAME=DIR"),
        (("--app", "a", "--layer", "app=b"), "--layer app is given twice"),
        (("--layer", "apq=own"), '--layer apq: the topology has no layer "apq" (did you mean "app"?)'),
        (("--app", "nowhere"), "nowhere is not a folder"),
    ],
)
def test_what_cannot_be_meant(cli: Cli, words: tuple[str, ...], why: str) -> None:
    done = cli("validate", *words)
    assert done.returncode == 2
    assert why in done.stderr


def test_validate_and_graph_show_who_uses_them(cli: Cli) -> None:
    told = cli("validate").stderr
    assert 'warning: variant small: no service uses layer "nobodys", so no machine has it' in told
    graph = json.loads(cli("graph", "--format", "json").stdout)
    assert [service["uses"] for service in graph["services"]] == [["app", "data"], []]
    assert graph["layers"][0] == {"name": "app", "target": "/opt/app", "machines": ["alpha"]}
    assert graph["layers"][2]["machines"] == []


def test_the_driver_takes_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def from_file(file: str, **options: object) -> Request:
        seen.append(options["layers"])
        return Request(topology(tmp_path, machine()), "shop", "auto", tmp_path, "test")

    monkeypatch.setattr(module, "from_file", from_file)
    Environment.load("x.toml")
    Environment.load("x.toml", app="a", layers={"data": Path("d")})
    assert seen == [{}, {"app": "a", "data": Path("d")}]
    with pytest.raises(UsageError, match="app= and layers= both"):
        Environment.load("x.toml", app="a", layers={"app": "b"})
