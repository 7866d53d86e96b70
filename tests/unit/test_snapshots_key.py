"""What a snapshot fits: every part that matters changes the key, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from topology_parts import link, machine, network, topology

from orchestrator.images.contract import BuiltImage
from orchestrator.images.layers import LayerDisk
from orchestrator.snapshots.key import Parts, differences, host_cpu, inputs_of, key_of
from orchestrator.topology.model import GuestFile, Layer, Suite, Topology
from orchestrator.vm.accelerator import Accelerator

TCG = Accelerator("tcg", "no KVM", 10.0, "10.0.2")


def image(folder: Path, key: str = "k1", text: str = "exec qemu") -> BuiltImage:
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    (folder / "bin/run-server-vm").write_text(text)
    (folder / "bin/run-server-vm").chmod(0o755)
    return BuiltImage("image", folder, key, "debian", True, 0.0)


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "alicia.env"
        self.secret.write_text("KEY=1\n")
        server = replace(machine("server", links=(link("lan", 2),)), files=(GuestFile(self.secret, "/run/x"),))
        self.topology: Topology = topology(folder, server, machine("client"), networks={"lan": network("lan")})
        self.images = {"image": image(folder / "image")}
        self.accelerator = TCG
        self.kernel_parameters = ""
        self.handover = ""
        self.layer = "abc 0:0"
        self.room = 64 << 20
        self.give_layer()

    def parts(self) -> dict[str, str]:
        handovers = {name: f"hostname {name}\n{self.handover}" for name in self.topology.machines}
        disks: dict[str, tuple[LayerDisk, ...]] = dict.fromkeys(self.topology.machines, ()) | {
            "server": (LayerDisk("app", self.folder / "disk.ext4", self.layer, self.room),)
        }
        parts = Parts(self.images, disks, handovers)
        return inputs_of(self.topology, parts, self.accelerator, kernel_parameters=self.kernel_parameters)

    def give_layer(self, **changes: object) -> None:
        layer = replace(Layer("app", self.folder, "/opt/app"), **changes)  # type: ignore[arg-type]
        self.topology = replace(self.topology, layers={"app": layer})

    def machine(self, **changes: object) -> None:
        server = replace(self.topology.machines["server"], **changes)  # type: ignore[arg-type]
        self.topology = replace(self.topology, machines={**self.topology.machines, "server": server})


def other_script(stage: Stage) -> None:
    image(stage.folder / "image", text="exec qemu -device other")


def other_image(stage: Stage) -> None:
    stage.images = {"image": image(stage.folder / "image", key="k2")}


def other_content(stage: Stage) -> None:
    stage.secret.write_text("KEY=2\n")


MATTERS: dict[str, tuple[Callable[[Stage], None], list[str]]] = {
    "memory": (lambda s: s.machine(memory=2048), ["QEMU arguments of server", "topology"]),
    "processors": (lambda s: s.machine(cpus=4), ["QEMU arguments of server", "topology"]),
    "egress": (lambda s: s.machine(egress=True), ["topology"]),
    "image": (other_image, ["image image"]),
    "run script": (other_script, ["run script of image"]),
    "layer": (lambda s: setattr(s, "layer", "def 0:0"), ["layer app of server"]),
    "place of a layer": (lambda s: s.give_layer(target="/srv/app"), ["layer app of server"]),
    "room of a layer": (lambda s: setattr(s, "room", 128 << 20), ["room for layer app of server"]),
    "secret": (other_content, ["file /run/x of server"]),
    "QEMU": (lambda s: setattr(s, "accelerator", replace(TCG, qemu="10.1.0")), ["QEMU"]),
    "hand-over": (
        lambda s: setattr(s, "handover", "more"),
        ["hand-over of client", "hand-over of server"],
    ),
    "kernel parameters": (lambda s: setattr(s, "kernel_parameters", "quiet"), ["kernel parameters"]),
    "accelerator": (
        lambda s: setattr(s, "accelerator", replace(TCG, name="kvm")),
        ["QEMU arguments of client", "QEMU arguments of server", "accelerator", "host CPU"],
    ),
}


@pytest.mark.parametrize("what", list(MATTERS))
def test_what_matters_changes_the_key_and_is_named(tmp_path: Path, what: str) -> None:
    stage = Stage(tmp_path)
    before = stage.parts()
    change, named = MATTERS[what]
    change(stage)
    after = stage.parts()
    assert key_of(after) != key_of(before)
    assert differences(before, after) == named


def test_what_does_not_matter_leaves_the_key(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    before = key_of(stage.parts())
    suite = Suite("client", tmp_path, ("run-e2e-tests",), "test", {}, "/artifacts", 60.0, ())
    stage.topology = replace(stage.topology, path=tmp_path / "elsewhere.toml", suite=suite)
    moved = tmp_path / "moved.env"
    moved.write_text("KEY=1\n")
    stage.machine(files=(GuestFile(moved, "/run/x"),))
    stage.give_layer(source=tmp_path / "elsewhere", exclude=("a",), requires=("b",), replaced=True)
    stage.accelerator = replace(TCG, reason="another reason")
    assert key_of(stage.parts()) == before


def test_a_file_that_is_missing_is_not_one_that_is_empty(tmp_path: Path) -> None:
    """The machine has an empty file in the one case and none in the other."""
    stage = Stage(tmp_path)
    stage.machine(files=(GuestFile(stage.secret, "/run/x", required=False),))
    keys = []
    for content in ("KEY=1\n", "", None):
        if content is None:
            stage.secret.unlink()
        else:
            stage.secret.write_text(content)
        keys.append(key_of(stage.parts()))
    assert len(set(keys)) == 3


def test_no_secret_is_in_the_parts(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.secret.write_text("KEY=canary-4711\n")
    assert "canary" not in repr(stage.parts())


def test_the_hosts_cpu(tmp_path: Path) -> None:
    def cpu(flags: str, mhz: str) -> str:
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nmodel name\t: EPYC\ncpu MHz\t\t: {mhz}\nflags\t\t: {flags}\n\nnext\t: 1\n")
        return host_cpu(path)

    assert cpu("fpu avx", "2450") == cpu("fpu avx", "3100"), "its speed changes all the time"
    assert cpu("fpu avx", "2450") != cpu("fpu avx avx2", "2450")
