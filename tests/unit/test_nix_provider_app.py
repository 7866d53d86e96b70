"""Another folder for a layer that a flake brings: an input of the flake is given on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import ImageError
from orchestrator.images.nixos import NixImage, build_argv, inputs_of
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Layer

ROOT = Path(__file__).parents[2]
FLAKE = NixImage("server", nixos_flake="/f#server")
APP = {"app": Path("/some app #1 100%")}
OVERRIDE = ["--override-input", "app", "path:/some%20app%20%231%20100%25"]


def test_the_applications_folder_takes_the_place_of_an_input() -> None:
    assert build_argv(FLAKE, ["nixos-rebuild"], APP) == ["nixos-rebuild", "build-vm", "--flake", "/f#server", *OVERRIDE]
    argv = build_argv(FLAKE, ["nix"], APP)
    assert argv[-4:-1] == OVERRIDE
    assert argv[-1].endswith(".system.build.vm")
    assert "--override-input" not in build_argv(FLAKE, ["nix"])


def test_a_folder_beside_the_flake_is_its_own_unless_it_was_given(tmp_path: Path) -> None:
    image = NixImage("server", nixos_flake=f"{tmp_path}/nixos-images#server")
    beside = Layer("app", tmp_path / "nixos-images/../standin", "/opt/app", nixos_input="app")
    assert inputs_of(image, [beside]) == {}
    assert inputs_of(image, [replace(beside, replaced=True)]) == {"app": tmp_path / "standin"}
    assert inputs_of(image, [replace(beside, source=tmp_path / "a/b")]) == {"app": tmp_path / "a/b"}
    assert inputs_of(image, [replace(beside, source=tmp_path / "a/b", nixos_input="")]) == {}
    assert inputs_of(NixImage("server", nixos_flake="github:a/b#c"), [beside]) == {"app": tmp_path / "standin"}


def test_the_flake_has_the_input_that_the_topology_names() -> None:
    layer = load_topology(ROOT / "orchestrator.toml").layers["app"]
    flake = (ROOT / "nixos-images/flake.nix").read_text(encoding="utf-8")
    assert f"    {layer.nixos_input} = {{\n" in flake
    assert inputs_of(NixImage("server", nixos_flake=f"{ROOT}/nixos-images#server"), [layer]) == {}


def test_without_a_flake_another_application_is_refused() -> None:
    with pytest.raises(ImageError, match="another folder for a layer with nixos_input needs a flake"):
        build_argv(NixImage("server", nixos_config=Path("/c.nix")), ["nixos-rebuild"], APP)
