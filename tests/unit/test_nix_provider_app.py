"""Another application in a NixOS image: an input of the flake is given on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ImageError
from orchestrator.images.nixos import APP_INPUT, NixImage, build_argv, other_app

FLAKE = NixImage("server", nixos_flake="/f#server")
APP = Path("/some app #1 100%")
OVERRIDE = ["--override-input", "app", "path:/some%20app%20%231%20100%25"]


def test_the_applications_folder_takes_the_place_of_an_input() -> None:
    assert build_argv(FLAKE, ["nixos-rebuild"], APP) == ["nixos-rebuild", "build-vm", "--flake", "/f#server", *OVERRIDE]
    argv = build_argv(FLAKE, ["nix"], APP)
    assert argv[-4:-1] == OVERRIDE
    assert argv[-1].endswith(".system.build.vm")
    assert "--override-input" not in build_argv(FLAKE, ["nix"])


def test_the_stand_in_beside_the_flake_is_its_own(tmp_path: Path) -> None:
    image = NixImage("server", nixos_flake=f"{tmp_path}/nixos-images#server")
    assert other_app(image, tmp_path / "nixos-images/../standin") is None
    assert other_app(image, None) is None
    assert other_app(image, tmp_path / "mine") == tmp_path / "mine"
    assert other_app(NixImage("server", nixos_flake="github:a/b#c"), tmp_path / "standin") == tmp_path / "standin"


def test_the_flake_has_that_input() -> None:
    flake = (Path(__file__).parents[2] / "nixos-images/flake.nix").read_text(encoding="utf-8")
    assert f"    {APP_INPUT} = {{\n" in flake


def test_without_a_flake_another_application_is_refused() -> None:
    with pytest.raises(ImageError, match="another application needs a flake"):
        build_argv(NixImage("server", nixos_config=Path("/c.nix")), ["nixos-rebuild"], APP)
