"""From a machine's model to its command line: golden files, one argument a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_qemu import golden, link, machine, network

from orchestrator.net.networks import NetworkPaths, nics_of
from orchestrator.topology.model import Machine, NetworkKind
from orchestrator.vm.arguments import MachinePaths, net_options, script_arguments, script_environment

PATHS = MachinePaths(Path("/state/machines/server"), Path("/run/o/server"), Path("/runs/r1/machines/server"))
WIRES = NetworkPaths(Path("/run/o"), Path("/runs/r1/networks"))
PAIR = {"server": machine("server", links=(link("lan", 2),)), "client": machine("client", links=(link("lan", 1),))}


def lines(arguments: tuple[str, ...]) -> str:
    """Option and value on one line."""
    assert len(arguments) % 2 == 0
    return "".join(f"{option} {value}\n" for option, value in zip(arguments[::2], arguments[1::2], strict=True))


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_a_machine_on_one_network(accelerator: str) -> None:
    nics = nics_of(PAIR["server"], PAIR, {"lan": network("lan")}, WIRES)
    arguments = script_arguments(PAIR["server"], PATHS, nics, accelerator=accelerator)
    golden(f"vm/one-network-{accelerator}.txt", lines(arguments))


def test_a_machine_on_two_networks() -> None:
    both = machine("server", links=(link("lan", 2), link("db-net", 7, subnet=5)), cpus=1, memory=512)
    networks = {"lan": network("lan"), "db-net": network("db-net", NetworkKind.SOCKET, subnet=5)}
    nics = nics_of(both, {"server": both, "client": PAIR["client"]}, networks, WIRES)
    golden("vm/two-networks.txt", lines(script_arguments(both, PATHS, nics, accelerator="tcg")))


def test_fixed_memory_leaves_the_size_to_the_script_and_changes_nothing_else() -> None:
    usual = script_arguments(PAIR["server"], PATHS, (), accelerator="kvm")
    fixed = script_arguments(PAIR["server"], PATHS, (), accelerator="kvm", fixed_memory=True)
    at = usual.index("-m")
    assert usual[at : at + 2] == ("-m", "1024M")
    assert fixed == usual[:at] + usual[at + 2 :]


def test_no_two_parts_share_an_id_or_a_socket() -> None:
    nics = nics_of(PAIR["server"], PAIR, {"lan": network("lan")}, WIRES)
    arguments = script_arguments(PAIR["server"], PATHS, nics, accelerator="tcg")
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
