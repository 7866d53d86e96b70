"""`orchestrator host-setup` as a command: what it prints, when it installs, how it becomes root."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from host_scene import Host

from orchestrator.cli import host_setup
from orchestrator.errors import HostError
from orchestrator.host.setup import Shortfall, User


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def command(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command on the invented host."""

    async def examined(user: User, purposes: object) -> Shortfall:
        del user, purposes
        return await host.examine()

    monkeypatch.setattr(host_setup, "examine", examined)
    monkeypatch.setattr(host_setup, "LOG", host.folder / "setup.log")
    monkeypatch.setattr("orchestrator.host.apt.BACKPORTS", host.folder / "backports.sources")

    def run(**options: object) -> int:
        given = {"check": False, "json": False, "quiet": False, "verbose": 0, "development": False} | options
        return host_setup.run(argparse.Namespace(images="debian", timeout=60.0, **given))

    return run


def test_check_installs_nothing_and_ends_with_3(
    host: Host, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(check=True) == 3
    shown = capsys.readouterr().out
    assert "vde_switch" in shown
    assert "next: orchestrator host-setup" in shown
    assert host.calls() == []


def test_check_as_json(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(check=True, json=True) == 3
    data = json.loads(capsys.readouterr().out)
    assert data["ready"] is False
    assert {"name": "vde_switch", "reason": "connects them: one switch for each network", "package": "vde2"} in data[
        "missing"
    ]
    assert data["subordinate_ids"] == "100000-165535"


def test_root_installs_and_the_second_call_has_nothing_to_do(
    host: Host, command: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert command() == 0
    assert "this host lacks" in capsys.readouterr().err
    host.calls()
    assert command() == 0
    assert capsys.readouterr().out.startswith("ready")
    assert host.calls() == []


def test_without_root_and_sudo_the_administrator_is_told_every_command(
    host: Host, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError) as caught:
        command()
    assert "there is no sudo" in caught.value.why
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 bob" in caught.value.evidence
    assert host.calls() == []


def test_another_distribution_gets_a_list_and_nothing_is_installed(host: Host, command: Callable[..., int]) -> None:
    (host.folder / "os-release").write_text("ID=fedora\nVERSION_ID=43\nPRETTY_NAME='Fedora 43'\n")
    with pytest.raises(HostError) as caught:
        command()
    assert "no Debian or Ubuntu with apt: Fedora 43" in caught.value.why
    assert caught.value.evidence[0].startswith("dnf install qemu-system-x86 qemu-img vde2")
    assert host.calls() == []


def test_a_user_with_sudo_goes_on_as_root_with_the_same_words(
    host: Host, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.fake("sudo", "#!/bin/sh\nexit 0\n")
    called: list[list[str]] = []

    def execv(program: str, words: list[str]) -> None:
        called.append([program, *words])
        raise SystemExit(0)  # the real one does not come back

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr("sys.argv", ["orchestrator", "host-setup", "--development"])
    with pytest.raises(SystemExit):
        command()
    ((program, _, preserved, python, *words),) = called
    assert program == str(host.folder / "bin" / "sudo")
    assert "http_proxy" in preserved
    assert python == sys.executable
    assert words == ["-m", "orchestrator", "host-setup", "--development"]


def test_a_sudo_that_refuses_is_not_waited_for(
    host: Host, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.fake("sudo", '#!/bin/sh\necho "sudo $*" >> "$HOST/calls"\nexit 1\n')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError) as caught:
        command()
    assert "sudo refuses" in caught.value.why
    assert host.calls() == ["sudo -n true"]


def test_what_is_still_missing_afterwards_is_an_error(
    host: Host, command: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.fake("apt-get", "#!/bin/sh\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (host.folder / "candidate").write_text("1:10.0.2\n")
    with pytest.raises(HostError) as caught:
        command()
    assert "still missing" in caught.value.what
    assert any("vde_switch" in line for line in caught.value.evidence)
