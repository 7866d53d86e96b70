"""What an evaluation cannot see: modules nobody builds, and paths and commands that no package is known to hold."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

from check_nix_kernel import OPTIONS, answers_of, kernel_problems, read_kept, source_version
from check_nix_paths import package, path_problems
from nix_facts import GOLDEN, MACHINES, ROOT, facts

Facts = dict[str, Any]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_module_path_and_command_is_known(machine: str) -> None:
    one = facts(machine)
    assert list(kernel_problems(one["boot"], read_kept(GOLDEN))) == []
    assert list(path_problems(ROOT, one)) == []


def test_a_module_that_nixpkgs_does_not_build_is_named() -> None:
    """The fault of the first images: all evaluated, none could be built."""
    boot = facts("client")["boot"]
    boot["initrdModules"] = [*boot["initrdModules"], "pvpanic-pci", "nobody-knows"]
    found = list(kernel_problems(boot, read_kept(GOLDEN)))
    assert any("pvpanic-pci, which nixpkgs does not build: CONFIG_PVPANIC_PCI is not set" in line for line in found)
    assert any("nobody knows which option builds nobody-knows" in line for line in found)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"storeCompression": "lz5 -x"}, "a store compressed by lz5"),
        ({"kernelConfig": "0"}, "nixpkgs states other options"),
    ],
)
def test_a_store_or_a_nixpkgs_that_does_not_fit_is_named(change: Facts, said: str) -> None:
    found = list(kernel_problems({**facts("client")["boot"], **change}, read_kept(GOLDEN)))
    assert len(found) == 1
    assert said in found[0]


def test_a_kernel_that_cannot_read_the_store_is_named() -> None:
    kept = read_kept(GOLDEN)
    for answers in kept["answers"].values():
        del answers["SQUASHFS_LZ4"]
    found = list(kernel_problems(facts("client")["boot"], kept))
    assert len(found) == len(kept["answers"]) > 0
    assert all("CONFIG_SQUASHFS_LZ4 is not set" in line and "a store compressed by lz4" in line for line in found)


def test_a_kernels_configuration_is_read(tmp_path: Path) -> None:
    assert answers_of("CONFIG_VIRTIO_BLK=m\n# CONFIG_PVPANIC_PCI is not set\nCONFIG_FOO=y\n") == {"VIRTIO_BLK": "m"}
    assert "PVPANIC_PCI" in OPTIONS
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 3\n")
    assert source_version(tmp_path) == "6.12.3"
    with pytest.raises(ValueError, match="no sources of Linux"):
        source_version(tmp_path / "none")


def test_versions_go_and_outputs_stay() -> None:
    assert package("postgresql-and-plugins-17.10") == "postgresql-and-plugins"
    assert package("qemu-host-cpu-only-11.0.1-ga") == "qemu-host-cpu-only-ga"
    assert package("glibc-locales-2.42-67") == "glibc-locales"
    assert package("openssh-10.3p1") == "openssh"


def in_unit(unit: str, old: str, new: str) -> Callable[[Facts], None]:
    def apply(one: Facts) -> None:
        assert old in one["units"][unit]
        one["units"][unit] = one["units"][unit].replace(old, new)

    return apply


def before_postgresql(one: Facts) -> None:
    one["preStart"]["postgresql"] += "awk 1 /dev/null\n"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (in_unit("mock-llm.service", "/mock-llm\n", "/mock-lllm\n"), "whether alicia-mocks holds mock-lllm"),
        (in_unit("alicia.service", "bin/alicia serve", "bin/server serve"), "whether alicia-standin holds bin/server"),
        (in_unit("nginx.service", "bin/nginx", "bin/nginx2"), "whether nginx-1.30.3 holds bin/nginx2"),
        (in_unit("nginx.service", "bin/nginx-pre-start", "bin/pre"), "nginx-pre-start holds bin/pre"),
        (
            in_unit("alicia-migrate.service", "/nix/store/coreutils-9.11/bin:", ""),
            "coreutils is not on the unit's PATH",
        ),
        (in_unit("postgresql-setup.service", "postgresql-and-plugins-17.10/", "x/"), "postgresql-setup.sh calls psql"),
        (before_postgresql, "postgresql-pre-start calls awk, and gawk is not on the unit's PATH"),
    ],
)
def test_what_would_be_missed_at_run_time_is_named(break_it: Callable[[Facts], None], said: str) -> None:
    one = facts("server-mock")
    break_it(one)
    found = list(path_problems(ROOT, one))
    assert any(said in line for line in found), found
