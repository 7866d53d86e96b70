"""The run script of a Debian image behaves like the one of nixos-rebuild build-vm."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import ImageError
from orchestrator.images.contract import find_run_script
from orchestrator.images.runscript import kernel_params, run_script
from orchestrator.vm.architecture import architecture_of

FAKE_QEMU = f"""#!{sys.executable}
import json, os, sys
json.dump({{"argv": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid()}}, open(os.environ["RECORD"], "w"))
sys.exit(7)
"""
FAKE_QEMU_IMG = """#!/bin/sh
echo "$@" >> "$RECORD.img"
for last; do :; done
echo overlay > "$last"
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "an image"
    executable(folder / "bin/run-server-vm", run_script("server", memory=1024, cpus=2))
    (folder / "kernel-params").write_text(kernel_params(("root=/dev/vda", "console=ttyS0")))
    executable(tmp_path / "path/qemu-system-x86_64", FAKE_QEMU)
    executable(tmp_path / "path/qemu-img", FAKE_QEMU_IMG)
    return folder


def start(
    image: Path, *arguments: str, **variables: str
) -> tuple[subprocess.CompletedProcess[bytes], dict[str, object]]:
    record = image.parent / "record.json"
    environment = {
        "PATH": f"{image.parent}/path:{os.environ['PATH']}",
        "RECORD": str(record),
        "NIX_DISK_IMAGE": str(image.parent / "state.qcow2"),
        "USE_TMPDIR": "1",
        "TMPDIR": str(image.parent),
        **variables,
    }
    process = subprocess.Popen([str(find_run_script(image)), *arguments], env=environment, cwd=image.parent)
    code = process.wait(20)
    data = json.loads(record.read_text())
    data["script_pid"] = process.pid
    return subprocess.CompletedProcess(arguments, code), data


def value_after(argv: object, option: str) -> str:
    assert isinstance(argv, list)
    return str(argv[argv.index(option) + 1])


def test_qemu_replaces_the_script_and_its_exit_code_is_kept(image: Path) -> None:
    done, seen = start(image)
    assert done.returncode == 7
    assert seen["pid"] == seen["script_pid"]
    assert seen["cwd"] == str(image.parent)


def test_the_overlay_is_made_once_on_the_image_and_then_kept(image: Path) -> None:
    start(image)
    start(image)
    calls = (image.parent / "record.json.img").read_text().splitlines()
    assert len(calls) == 1
    assert f"-b {image}/root.raw -F raw" in calls[0]
    assert (image.parent / "state.qcow2").read_text() == "overlay\n"
    assert [path.name for path in image.parent.glob("state.qcow2*")] == ["state.qcow2"]


def test_kernel_and_network_take_our_variables(image: Path) -> None:
    _, seen = start(image, QEMU_KERNEL_PARAMS="quiet x=1", QEMU_NET_OPTS="hostfwd=tcp:127.0.0.1:2222-:22")
    assert value_after(seen["argv"], "-append") == "root=/dev/vda console=ttyS0 quiet x=1"
    assert value_after(seen["argv"], "-netdev") == "user,id=user.0,hostfwd=tcp:127.0.0.1:2222-:22"
    assert value_after(seen["argv"], "-kernel") == f"{image}/vmlinuz"


def test_script_arguments_come_last_and_whole(image: Path) -> None:
    _, seen = start(image, "-serial", "file:/with a blank", QEMU_OPTS="-m 2048")
    assert isinstance(seen["argv"], list)
    assert seen["argv"][-4:] == ["-m", "2048", "-serial", "file:/with a blank"]


def test_without_use_tmpdir_it_works_in_a_new_folder(image: Path) -> None:
    _, seen = start(image, USE_TMPDIR="")
    assert str(seen["cwd"]).startswith(f"{image.parent}/nix-vm.")


def test_the_golden_command_line(image: Path) -> None:
    _, seen = start(image)
    golden = Path(__file__).parents[1] / "golden/images-run-script.txt"
    assert "\n".join(str(one) for one in seen["argv"]).replace(str(image.parent), "DIR") + "\n" == golden.read_text()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["", "a b", "../x", "a$(id)", "a\n"])
def test_a_name_that_is_no_plain_word_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a machine name"):
        run_script(name, memory=1, cpus=1)


def test_kernel_parameters_stay_on_one_line() -> None:
    with pytest.raises(ValueError, match="line break"):
        kernel_params(("a", "b\nc"))


def test_an_image_has_exactly_one_run_script_that_can_be_executed(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a machine image"):
        find_run_script(tmp_path)
    executable(tmp_path / "bin/other", "")
    with pytest.raises(ImageError, match="no run-<name>-vm") as error:
        find_run_script(tmp_path)
    assert "other" in error.value.why
    script = executable(tmp_path / "bin/run-a-vm", "")
    assert find_run_script(tmp_path) == script
    script.chmod(stat.S_IRUSR)
    if os.geteuid() != 0:
        with pytest.raises(ImageError, match="cannot be executed"):
            find_run_script(tmp_path)
    script.chmod(0o644)
    with pytest.raises(ImageError, match="cannot be executed"):
        find_run_script(tmp_path)
    executable(tmp_path / "bin/run-b-vm", "")
    with pytest.raises(ImageError, match="2 run scripts"):
        find_run_script(tmp_path)


def test_a_guest_of_arm_gets_its_own_qemu_and_machine() -> None:
    text = run_script("server", memory=512, cpus=1, architecture="arm64")
    assert "exec qemu-system-aarch64 -machine virt,accel=kvm:tcg -cpu max \\\n" in text
    assert "    -device virtio-gpu-pci \\\n" in text, "a virt machine has no display of its own"
    assert architecture_of(text).console == "ttyAMA0"
    assert architecture_of(run_script("server", memory=512, cpus=1)).name == "x86_64"
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    with pytest.raises(KeyError):
        run_script("server", memory=512, cpus=1, architecture="s390x")
