"""The NixOS images as far as they can be run without building them: evaluated run scripts, evaluated units.

`nixos-rebuild` is a stand-in that leaves what nixpkgs would: both run scripts, word by word. The server's units,
configurations and files are the evaluated ones, on Debian's programs and kernel (tests/vm/nixos). So the provider, the
scripts' contract, a saved state of such machines and the units are seen to work; a NixOS root is not.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MEASURES, opened
from host import HERE, ROOT, Host, edited_topology, second_phase
from nixos_scene import NIXOS_REBUILD, build, executable, facts

SERVER_RECIPE = str(HERE / "nixos/server.toml")


class World:
    """The host with its stand-in for nixos-rebuild."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.calls = folder / "calls"
        self.path = f"{folder}/path:{os.environ['PATH']}"
        images = json.loads(host.run("images", "build", "--images", "debian", "--json", limit=900).expect(0).stdout)
        for image in images:
            build(folder / "store", image["name"], Path(image["path"]))
        rebuild = NIXOS_REBUILD.format(calls=self.calls, store=folder / "store")
        executable(folder / "path/nixos-rebuild", rebuild)


@pytest.fixture(scope="module")
def nixos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("nixos")
    recipe = ('debian = "../../debian-images/server.toml"', f'debian = "{SERVER_RECIPE}"')
    # The first start makes PostgreSQL's cluster, and everything beside it is slower for that long.
    longer = tuple((f"\ntimeout = {short}\n", "\ntimeout = 20\n") for short in ("2.5", "3", "5", "6"))
    with opened(folder, edited_topology(folder, recipe, (second_phase(), ""), *longer)) as host:
        yield World(host, folder)


def test_a_cold_start_by_evaluated_scripts_is_ready(nixos: World) -> None:
    done = nixos.host.run("up", "--images", "nixos", limit=600, PATH=nixos.path)
    done.expect(
        0,
        r"image server: building",
        r"server \| building the system configuration",
        r"service nginx: healthy",
        r"READY in",
    )
    MEASURES.append(f"cold start of evaluated NixOS machines: {done.seconds:.1f} s")
    calls = nixos.calls.read_text().splitlines()
    assert sorted(calls) == [f"build-vm --flake {ROOT}/nixos-images#{name}" for name in ("client", "server")]


def test_the_units_are_the_evaluated_ones(nixos: World) -> None:
    for unit in ("postgresql", "postgresql-setup", "alicia-migrate", "mock-llm", "mock-livekit", "alicia", "nginx"):
        text = nixos.host.guest("server", f"cat $(systemctl show -P FragmentPath {unit}.service)")
        assert text == facts("server")["units"][f"{unit}.service"], unit
        assert nixos.host.guest("server", f"systemctl show -P DropInPaths {unit}.service").strip() == ""
    said = nixos.host.guest(
        "server",
        "cat /proc/cmdline; nft list ruleset; psql -U postgres -h /run/postgresql -XtAc 'show config_file'; "
        "ps -o user= -C nginx | sort -u; echo $(cat /sys/block/vdb/serial) $(cat /sys/block/vdb/ro)",
    )
    assert "panic=0" in said and "init=/sbin/init" in said and "lsm=landlock" in said
    assert "table inet nixos-fw" in said
    assert "/var/lib/postgresql/17/postgresql.conf" in said
    assert re.search(r"^nginx\nnix-store 1$", said, re.MULTILINE), said


def test_a_warm_run_of_one_test_passes(nixos: World) -> None:
    nixos.host.run("down").expect(0)
    done = nixos.host.run(
        "run",
        "--images",
        "nixos",
        "--suite",
        str(HERE / "suites/mixed"),
        "--grep",
        "healthy",
        limit=600,
        PATH=nixos.path,
    )
    done.expect(0, r"READY in", r"✔ .*the server is healthy", r"image server: cached")
    assert [event for event in nixos.host.events("machine.state") if event["state"] == "restoring"]
    MEASURES.append(f"warm run of one test on evaluated NixOS machines: {done.seconds:.1f} s")
    nixos.host.assert_nothing_left()
