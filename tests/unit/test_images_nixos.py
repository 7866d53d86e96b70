"""The NixOS provider and the choice of a provider.

Nix itself is not run here: a small script stands in for nixos-rebuild and makes
the folder with ``bin/run-x-vm`` that the real one would link to. What these tests
prove is the command line, the handling of the output, and what is cached.
"""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from event_records import of

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import ImageOutput, ImageStateChanged
from orchestrator.images.cache import ImageCache
from orchestrator.images.nixos import NixImage, absolute, build_argv
from orchestrator.images.nixos_output import hint_for
from orchestrator.images.provider import choose_provider, ensure_images
from orchestrator.images.providers.debian import DebianImage
from orchestrator.images.providers.nixos import NixosImage
from orchestrator.topology.image_source import ImageSource
from orchestrator.topology.model import Image, Machine, Network, NetworkKind, Topology

FLAKE = NixImage("server", nixos_flake="nix dir#server")
CONFIG = NixImage("server", nixos_config=Path("/etc/server.nix"))

FAKE = """#!/bin/sh
echo "$@" >> "$STORE/../arguments"
if [ -e "$STORE/../script" ]; then . "$STORE/../script"; fi
if [ -e "$STORE/../fail" ]; then
    echo "error: flake 'x' does not provide attribute 'y'" >&2
    exit 1
fi
version=$(cat "$STORE/../version")
out="$STORE/$version-nixos-vm"
if [ ! -d "$out" ]; then
    echo "building '/nix/store/abc-nixos-vm.drv'..." >&2
    mkdir -p "$out/bin"
    printf '#!/bin/sh\\n' > "$out/bin/run-${name:-server}-vm"
    chmod +x "$out/bin/run-${name:-server}-vm"
fi
ln -sfn "$out" result
"""


def topology(root: Path, image: NixImage, *, debian: bool = False) -> Topology:
    sources: dict[str, ImageSource] = {"debian": DebianImage(Path("x.toml"))} if debian else {}
    if image.nixos_flake or image.nixos_config:
        sources["nixos"] = NixosImage(image.nixos_flake, image.nixos_config)
    return Topology(
        name="t",
        path=root / "t.toml",
        variant="mock",
        variants=("mock",),
        networks={"lan": Network("lan", NetworkKind.VDE, IPv4Network("10.0.0.0/24"))},
        images={"server": Image("server", sources), "unused": Image("unused")},
        machines={"server": Machine("server", "server", 1, 512)},
        services={},
        suite=None,
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "store").mkdir()
    (tmp_path / "version").write_text("1")
    (tmp_path / "path").mkdir()
    tool = tmp_path / "path/nixos-rebuild"
    tool.write_text(FAKE)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/path:{os.environ['PATH']}")
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    return tmp_path


def ensure(place: Path, events: list[Event]) -> tuple[Path, bool]:
    bus = EventBus()
    bus.subscribe(events.append)
    images = asyncio.run(
        ensure_images(
            topology(place, FLAKE),
            provider="nixos",
            bus=bus,
            deadline=Deadline.after(20),
            cache=ImageCache(place / "cache"),
        )
    )
    assert images["server"].provider == "nixos"
    return images["server"].path, images["server"].cached


@pytest.mark.parametrize(
    ("image", "tools", "argv"),
    [
        (FLAKE, ["nixos-rebuild", "nix"], ["nixos-rebuild", "build-vm", "--flake", "nix dir#server"]),
        (CONFIG, ["nixos-rebuild"], ["nixos-rebuild", "build-vm", "-I", "nixos-config=/etc/server.nix"]),
        (
            CONFIG,
            ["nix-build"],
            ["nix-build", "<nixpkgs/nixos>", "-A", "vm", "-I", "nixos-config=/etc/server.nix"],
        ),
    ],
)
def test_the_command_line(image: NixImage, tools: list[str], argv: list[str]) -> None:
    assert build_argv(image, tools) == argv


def test_nix_alone_builds_the_same_attribute() -> None:
    argv = build_argv(FLAKE, ["nix"])
    assert argv[0] == "nix"
    assert argv[-1] == "nix dir#nixosConfigurations.server.config.system.build.vm"


@pytest.mark.parametrize(
    ("image", "tools", "what"),
    [
        (FLAKE, ["nix-build"], "no usable Nix"),
        (CONFIG, ["nix"], "no usable Nix"),
        (NixImage("x"), ["nix"], "no NixOS source"),
        (NixImage("x", nixos_flake="dir"), ["nix"], "names no attribute"),
    ],
)
def test_what_cannot_be_built_is_explained(image: NixImage, tools: list[str], what: str) -> None:
    with pytest.raises(ImageError, match=what):
        build_argv(image, tools)


def test_only_local_flakes_are_made_absolute(tmp_path: Path) -> None:
    assert absolute(FLAKE, tmp_path).nixos_flake == f"{tmp_path}/nix dir#server"
    for kept in ("github:a/b#c", "/abs#c", "path:x#c"):
        assert absolute(NixImage("x", nixos_flake=kept), tmp_path).nixos_flake == kept


def test_a_build_is_streamed_logged_and_cached_by_its_store_path(place: Path) -> None:
    events: list[Event] = []
    first, cached = ensure(place, events)
    assert not cached
    assert (first / "bin/run-server-vm").is_file()
    assert (place / "arguments").read_text().split() == ["build-vm", "--flake", f"{place}/nix", "dir#server"]
    lines = [event.line for event in of(events, ImageOutput)]
    assert lines == ["building '/nix/store/abc-nixos-vm.drv'..."]
    assert [event.state for event in of(events, ImageStateChanged)] == ["building", "ready"]
    assert lines[0] in (place / "cache/logs/server-nixos.log").read_text()

    events.clear()
    assert ensure(place, events) == (first, True)
    assert of(events[-1:], ImageStateChanged)[0].state == "cached"

    (place / "version").write_text("2")
    second, cached = ensure(place, events)
    assert not cached
    assert second != first
    assert (first / "bin/run-server-vm").is_file()


def test_a_failed_build_is_explained(place: Path) -> None:
    (place / "fail").touch()
    events: list[Event] = []
    with pytest.raises(ImageError, match="nixos-rebuild exited with 1") as error:
        ensure(place, events)
    assert "does not provide attribute" in error.value.evidence[-1]
    assert "nix flake show" in error.value.hint
    assert Path(error.value.where[0]).is_file()
    assert of(events[-1:], ImageStateChanged)[0].state == "failed"


def test_hints_follow_the_output() -> None:
    assert "NIX_PATH" in hint_for(["error: file 'nixpkgs/nixos' was not found in the Nix search path"])
    # The words of Nix 2.26.
    for feature in ("nix-command", "flakes"):
        said = (
            f"error: experimental Nix feature '{feature}' is disabled; "
            f"add '--extra-experimental-features {feature}' to enable it"
        )
        assert "experimental-features = nix-command flakes" in hint_for([said])
    assert "show-trace" in hint_for(["error: something else"])


def test_auto_takes_nixos_only_when_it_can(tmp_path: Path) -> None:
    tool = tmp_path / "nix"
    tool.write_text("")
    tool.chmod(0o755)
    both = topology(tmp_path, NixImage("server", nixos_flake="a#b"), debian=True)
    only_debian = topology(tmp_path, NixImage("server"), debian=True)
    with_nix, without = str(tmp_path), str(tmp_path / "none")
    assert choose_provider("auto", both, path=with_nix) == "debian"  # no flake there yet
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "flake.nix").write_text("{}")
    assert choose_provider("auto", both, path=with_nix) == "nixos"
    assert choose_provider("auto", both, path=without) == "debian"
    assert choose_provider("auto", only_debian, path=with_nix) == "debian"
    assert choose_provider("nixos", both, path=without) == "nixos"
    with pytest.raises(ImageError, match="no nixos source for image server"):
        choose_provider("nixos", only_debian, path=with_nix)
    with pytest.raises(ImageError, match="no debian source for image server"):
        choose_provider("auto", topology(tmp_path, FLAKE), path=without)
    with pytest.raises(ImageError, match="no such image provider"):
        choose_provider("docker", both)
