"""From a machine's model to its command line: golden files, one argument a line."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fake_qemu import golden
from topology_parts import link, machine, network

from orchestrator.net.networks import NetworkPaths, nics_of
from orchestrator.topology.model import Cpu, Machine, NetworkKind
from orchestrator.vm.architecture import ARCHITECTURES
from orchestrator.vm.arguments import (
    MachinePaths,
    Memory,
    QemuSettings,
    net_options,
    script_arguments,
    script_environment,
)
from orchestrator.vm.option_values import ReadOnlyDisk

PATHS = MachinePaths(Path("/state/machines/server"), Path("/run/o/server"), Path("/runs/r1/machines/server"))
WIRES = NetworkPaths(Path("/run/o"), Path("/runs/r1/networks"))
PAIR = {"server": machine("server", links=(link("lan", 2),)), "client": machine("client", links=(link("lan", 1),))}


def lines(arguments: tuple[str, ...]) -> str:
    """Option and value on one line; -S has no value."""
    words = iter(arguments)
    return "".join(f"{word}\n" if word == "-S" else f"{word} {next(words)}\n" for word in words)


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_a_machine_with_a_level_of_x86_64_sees_the_same_processor_everywhere(accelerator: str) -> None:
    level = replace(PAIR["server"], cpu=Cpu.X86_64_V2)
    words = script_arguments(level, PATHS, (), QemuSettings(accelerator=accelerator))
    assert words[words.index("-cpu") + 1] == "qemu64-v1,-svm,+ssse3,+sse4.1,+sse4.2,+popcnt,enforce"


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_a_machine_on_one_network(accelerator: str) -> None:
    nics = nics_of(PAIR["server"], PAIR, {"lan": network("lan")}, WIRES)
    arguments = script_arguments(PAIR["server"], PATHS, nics, QemuSettings(accelerator=accelerator))
    golden(f"vm/one-network-{accelerator}.txt", lines(arguments))


def test_a_machine_on_two_networks() -> None:
    both = machine("server", links=(link("lan", 2), link("db-net", 7, subnet=5)), cpus=1, memory=512)
    networks = {"lan": network("lan"), "db-net": network("db-net", NetworkKind.SOCKET, subnet=5)}
    nics = nics_of(both, {"server": both, "client": PAIR["client"]}, networks, WIRES)
    golden("vm/two-networks.txt", lines(script_arguments(both, PATHS, nics, QemuSettings(accelerator="tcg"))))


def test_fixed_memory_leaves_the_size_to_the_script_and_changes_nothing_else() -> None:
    usual = script_arguments(PAIR["server"], PATHS, (), QemuSettings(accelerator="kvm"))
    fixed = script_arguments(PAIR["server"], PATHS, (), QemuSettings(accelerator="kvm", fixed_memory=True))
    at = usual.index("-m")
    assert usual[at : at + 2] == ("-m", "1024M")
    assert fixed == usual[:at] + usual[at + 2 :]


RAM = Path("/dev/shm/orch-0/ram-abc/server.ram")
MEMORIES = {
    "shared": Memory(RAM),  # a cold start that can be saved
    "incoming": Memory(RAM, incoming=True),  # restored, with a memory of its own
    "private": Memory(Path("/store/shop@healthy.k1/server/ram"), shared=False, incoming=True),  # on the snapshot's
}


@pytest.mark.parametrize("name", list(MEMORIES))
def test_memory_as_a_file_adds_to_the_arguments_and_changes_none(name: str) -> None:
    usual = script_arguments(PAIR["server"], PATHS, (), QemuSettings(accelerator="kvm"))
    arguments = script_arguments(PAIR["server"], PATHS, (), QemuSettings(accelerator="kvm", memory=MEMORIES[name]))
    assert arguments[: len(usual)] == usual
    golden(f"vm/memory-{name}.txt", lines(arguments[len(usual) :]))


def test_a_restored_machine_has_the_devices_of_the_saved_one() -> None:
    """In the same order: QEMU numbers them, and a state fits only the same numbers."""
    nics = nics_of(PAIR["server"], PAIR, {"lan": network("lan")}, WIRES)

    def devices(memory: Memory | None) -> list[str]:
        arguments = script_arguments(PAIR["server"], PATHS, nics, QemuSettings(accelerator="tcg", memory=memory))
        return [value for option, value in pairwise(arguments) if option == "-device"]

    assert devices(MEMORIES["shared"]) == devices(MEMORIES["incoming"]) == devices(MEMORIES["private"])
    assert len(devices(None)) > 4


def test_only_a_saved_state_is_waited_for() -> None:
    def waits(memory: Memory | None) -> bool:
        return "-incoming" in script_arguments(machine(), PATHS, (), QemuSettings(accelerator="kvm", memory=memory))

    assert [waits(None), *(waits(MEMORIES[name]) for name in ("shared", "incoming", "private"))] == [
        False,
        False,
        True,
        True,
    ]


def test_no_two_parts_share_an_id_or_a_socket() -> None:
    nics = nics_of(PAIR["server"], PAIR, {"lan": network("lan")}, WIRES)
    arguments = script_arguments(PAIR["server"], PATHS, nics, QemuSettings(accelerator="tcg"))
    fields = [field for value in arguments[1::2] for field in value.split(",")]
    for key in ("id=", "path="):
        values = [field for field in fields if field.startswith(key)]
        assert values and len(values) == len(set(values))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (machine(), "restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        (machine(egress=True), "hostfwd=tcp:127.0.0.1:0-:22"),
        (machine(ports=((0, 80),)), "restrict=on,hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:0-:80"),
        (
            machine(egress=True, ports=((8080, 80), (0, 5432))),
            "hostfwd=tcp:127.0.0.1:0-:22,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:0-:5432",
        ),
    ],
)
def test_net_options(made: Machine, expected: str) -> None:
    assert net_options(made) == expected


def test_ports_that_were_known_are_kept() -> None:
    made = machine(egress=True, ports=((8080, 80), (0, 5432), (0, 443)))
    assert net_options(made, {22: 40001, 80: 40002, 5432: 40003, 9: 40004}) == (
        "hostfwd=tcp:127.0.0.1:40001-:22,hostfwd=tcp:127.0.0.1:40002-:80,"
        "hostfwd=tcp:127.0.0.1:40003-:5432,hostfwd=tcp:127.0.0.1:0-:443"
    )
    environment = script_environment(machine(), PATHS, {}, kept_ports={22: 40001})
    assert environment["QEMU_NET_OPTS"] == "restrict=on,hostfwd=tcp:127.0.0.1:40001-:22"


def test_the_environment_holds_what_the_script_needs_and_nothing_of_ours() -> None:
    inherited = {"PATH": "/bin", "HOME": "/root", "AWS_SECRET": "x", "QEMU_OPTS": "-m 1", "NIX_DISK_IMAGE": "/other"}
    assert script_environment(machine(), PATHS, inherited, "quiet console=ttyS0") == {
        "PATH": "/bin",
        "HOME": "/root",
        "NIX_DISK_IMAGE": "/state/machines/server/disk.qcow2",
        "USE_TMPDIR": "1",
        "TMPDIR": "/state/machines/server/tmp",
        "QEMU_NET_OPTS": "restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
        "QEMU_KERNEL_PARAMS": "quiet console=ttyS0",
    }


def test_every_socket_of_a_machine_lies_in_the_short_folder() -> None:
    sockets = [PATHS.qmp, PATHS.qmp_side, PATHS.agent, PATHS.console]
    assert {path.parent for path in sockets} == {Path("/run/o/server")}
    assert {path.parent for path in (PATHS.qemu_log, PATHS.serial_log, PATHS.journal)} == {PATHS.logs}


def test_disks_that_are_read_come_after_everything_else() -> None:
    nics = nics_of(PAIR["server"], PAIR, {"lan": network("lan")}, WIRES)
    settings = QemuSettings(accelerator="kvm", memory=Memory(RAM))
    disks = [ReadOnlyDisk(f"layer-{name}", f"serial-{name}", Path(f"/cache/{name}, x/disk")) for name in ("app", "b")]
    without = script_arguments(PAIR["server"], PATHS, nics, settings)
    arguments = script_arguments(PAIR["server"], PATHS, nics, replace(settings, disks=disks))
    assert arguments[: len(without)] == without, "no other device has another place on the bus"
    node = "driver=raw,node-name=layer-app,read-only=on,file.driver=file,file.filename=/cache/app,, x/disk"
    assert arguments[len(without) : len(without) + 4] == (
        "-blockdev",
        f"{node},file.read-only=on,file.locking=off",
        "-device",
        "virtio-blk-pci,id=layer-app,drive=layer-app,serial=serial-app",
    )
    assert len(arguments) == len(without) + 8


def test_a_guest_of_arm_has_no_vmgenid_and_its_own_emulated_processor() -> None:
    settings = QemuSettings(accelerator="tcg", architecture=ARCHITECTURES["arm64"])
    arguments = script_arguments(machine("server"), PATHS, (), settings)
    assert ("-cpu", "max,pauth-impdef=on") in pairwise(arguments)
    assert not any("vmgenid" in argument for argument in arguments)
    with_kvm = QemuSettings(accelerator="kvm", architecture=ARCHITECTURES["arm64"])
    assert ("-cpu", "host") in pairwise(script_arguments(machine("server"), PATHS, (), with_kvm))
