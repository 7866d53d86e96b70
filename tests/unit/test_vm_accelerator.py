"""The accelerator's probe with made-up QEMUs and devices, and the signs on a console."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_qemu import run_async

from orchestrator.errors import HostError
from orchestrator.vm import accelerator
from orchestrator.vm.accelerator import Accelerator, for_guests, parse_version, probe


class Host:
    """A host with this QEMU and this /dev/kvm."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.kvm = path / "kvm"
        monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
        for name in ("ORCH_ACCELERATOR", "ORCH_TIME_FACTOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(accelerator, "Path", lambda text: self.kvm if text == "/dev/kvm" else Path(text))
        self.modules = path / "modules"
        monkeypatch.setattr(accelerator, "MODULES", self.modules)
        self.qemu("exit 85")

    def qemu(self, run: str, version: str = "QEMU emulator version 10.0.2 (Debian 1:10.0.2)") -> None:
        script = self.path / "qemu-system-x86_64"
        script.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit 0\necho "$@" >> {self.path}/runs\n{run}\n'
        )
        script.chmod(0o755)

    @property
    def runs(self) -> int:
        log = self.path / "runs"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def probe(self, *, fresh: bool = False) -> Accelerator:
        return run_async(probe(self.path / "cache" / "accelerator.json", fresh=fresh))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_no_device(host: Host) -> None:
    assert host.probe() == Accelerator("tcg", "this host has no /dev/kvm", 10.0, "10.0.2")
    assert host.runs == 0


def test_a_guest_that_runs_is_kvm_and_is_run_once(host: Host) -> None:
    host.kvm.touch()
    assert host.probe() == Accelerator("kvm", "a guest ran under KVM", 1.0, "10.0.2")
    assert host.probe().name == "kvm"
    assert host.runs == 1, "the answer is kept"
    host.probe(fresh=True)
    assert host.runs == 2
    host.kvm.chmod(0o600)
    host.kvm.unlink()
    assert host.probe().name == "tcg", "and is not believed when the device changed"


def test_the_answer_of_another_program_of_the_same_version_is_not_believed(host: Host) -> None:
    """A wrapper that fails must not decide for a host's QEMU until the next boot."""
    host.kvm.touch()
    host.qemu("echo cannot set up guest memory >&2; exit 1")
    assert host.probe().name == "tcg"
    host.qemu("exit 85")
    assert host.probe().name == "kvm"


def test_a_device_that_opens_and_runs_nothing(host: Host) -> None:
    host.kvm.touch()
    host.qemu("echo qemu: failed to initialize kvm: Operation not permitted >&2; exit 1")
    assert host.probe() == Accelerator(
        "tcg",
        "/dev/kvm opens, but no guest runs under KVM: qemu: failed to initialize kvm: Operation not permitted",
        10.0,
        "10.0.2",
    )


def test_a_guest_that_hangs_under_kvm(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "PROBE_LIMIT", 0.3)
    host.kvm.touch()
    host.qemu("exec sleep 60")
    assert "did not run within" in host.probe().reason


def test_kvm_without_hardware_is_named_and_not_tried(host: Host) -> None:
    """There the boot sector of the probe, or an ordinary kernel behind it, hangs or aborts."""
    host.kvm.touch()
    assert host.probe().name == "kvm"
    (host.modules / "kvm_pvm").mkdir(parents=True)
    found = host.probe()
    assert found.name == "tcg", "also when another answer is kept"
    assert "module kvm_pvm" in found.reason and "runs only guest kernels built for it" in found.reason
    assert host.runs == 1


def test_an_answer_that_cannot_be_kept_is_an_answer(host: Host) -> None:
    (host.path / "cache").write_text("a file")
    assert host.probe().reason == "this host has no /dev/kvm"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": {}, "name": "kvm", "reason": ""}'])
def test_a_damaged_or_foreign_answer_is_found_anew(host: Host, text: str) -> None:
    host.probe()
    cache = host.path / "cache" / "accelerator.json"
    cache.write_text(text)
    assert host.probe().name == "tcg"
    assert json.loads(cache.read_text())["name"] == "tcg"


def test_overrides(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_ACCELERATOR", "kvm")
    monkeypatch.setenv("ORCH_TIME_FACTOR", "2.5")
    assert host.probe() == Accelerator("kvm", "set by ORCH_ACCELERATOR", 2.5, "10.0.2")
    for wrong in ("0", "nan", "-1", "fast", "1e9", "inf"):
        monkeypatch.setenv("ORCH_TIME_FACTOR", wrong)
        with pytest.raises(HostError, match="ORCH_TIME_FACTOR"):
            host.probe()
    monkeypatch.setenv("ORCH_ACCELERATOR", "xen")
    with pytest.raises(HostError, match="ORCH_ACCELERATOR is 'xen'"):
        host.probe()


def test_qemu_too_old_or_strange(host: Host) -> None:
    host.qemu("", version="QEMU emulator version 7.2.9 (Debian)")
    with pytest.raises(HostError, match=r"QEMU 7\.2\.9 is too old, 10\.0 is needed"):
        host.probe()
    host.qemu("", version="hello")
    with pytest.raises(HostError, match="does not print its version"):
        host.probe()


@pytest.mark.parametrize(
    ("text", "version"),
    [("QEMU emulator version 10.1.0 (v10.1.0)", (10, 1, 0)), ("version 11.0", (11, 0)), ("", ()), ("version x", ())],
)
def test_parse_version(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("guests", "host", "kvm", "name"),
    [
        ({"x86_64"}, "x86_64", True, "kvm"),
        (set(), "x86_64", True, "kvm"),
        ({"x86_64", "aarch64"}, "x86_64", True, "tcg"),
        ({"aarch64"}, "aarch64", True, "kvm"),
        ({"aarch64"}, "aarch64", False, "tcg"),
        ({"x86_64"}, "aarch64", True, "tcg"),
    ],
)
def test_the_accelerator_fits_the_processors_of_all_guests(
    monkeypatch: pytest.MonkeyPatch, guests: set[str], host: str, kvm: bool, name: str
) -> None:
    for variable in ("ORCH_ACCELERATOR", "ORCH_TIME_FACTOR"):
        monkeypatch.delenv(variable, raising=False)
    probed = Accelerator("kvm" if host == "x86_64" else "tcg", "as probed", 1.0 if host == "x86_64" else 10.0, "10.0.2")
    found = for_guests(probed, guests, host=host, kvm=kvm)
    assert (found.name, found.factor) == (name, {"kvm": 1.0, "tcg": 10.0}[name])
