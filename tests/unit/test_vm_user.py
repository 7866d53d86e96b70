"""Who QEMU is where root starts it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from orchestrator.errors import HostError
from orchestrator.vm import user
from orchestrator.vm.user import FIRST, LAST, VARIABLE, pick, qemu_user

MINE = pwd.getpwuid(os.geteuid())


def test_machines_get_different_users_and_keep_them() -> None:
    names = [f"environment-{number}/{name}" for number in range(10) for name in ("server", "client")]
    numbers = [pick(name, lambda _: False) for name in names]
    assert all(FIRST <= number <= LAST for number in numbers)
    assert len(set(numbers)) > 15
    assert numbers == [pick(name, lambda _: False) for name in names]


def test_a_user_in_use_is_passed_over() -> None:
    first = pick("a", lambda _: False)
    assert pick("a", lambda number: number == first) != first
    assert pick("a", lambda number: number != LAST) == LAST
    assert pick("a", lambda _: True) == first, "a shared one is better than root"


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(user, "_mapped", lambda *_: True)
    return monkeypatch


def test_root_gives_qemu_another_user(root: pytest.MonkeyPatch) -> None:
    number = int(qemu_user("env/server", "exec qemu").partition(":")[0])
    assert FIRST <= number <= LAST
    assert number not in user._owners()


@pytest.mark.parametrize("script", ["exec qemu -virtfs local,path=/nix/store"])
def test_a_machine_with_shared_folders_stays(root: pytest.MonkeyPatch, script: str) -> None:
    assert qemu_user("env/server", script) == ""


def test_others_stay_who_they_are(root: pytest.MonkeyPatch) -> None:
    root.setattr(user, "_mapped", lambda *_: False)
    assert qemu_user("env/server", "") == "", "root of a user namespace without other ids"
    root.setattr(os, "geteuid", lambda: 1000)
    assert qemu_user("env/server", "") == ""


def test_the_user_can_be_chosen(root: pytest.MonkeyPatch) -> None:
    root.setenv(VARIABLE, "daemon")
    daemon = pwd.getpwnam("daemon")
    assert qemu_user("env/server", "-virtfs") == f"{daemon.pw_uid}:{daemon.pw_gid}"
    root.setenv(VARIABLE, str(daemon.pw_uid))
    assert qemu_user("env/server", "") == f"{daemon.pw_uid}:{daemon.pw_gid}"
    root.setenv(VARIABLE, "root")
    assert qemu_user("env/server", "") == ""


@pytest.mark.parametrize("word", ["no such user", "99999999999999999999", "-1"])
def test_a_wrong_choice_is_told(root: pytest.MonkeyPatch, word: str) -> None:
    root.setenv(VARIABLE, word)
    with pytest.raises(HostError, match=VARIABLE):
        qemu_user("env/server", "")


def test_who_is_not_root_cannot_choose_another(root: pytest.MonkeyPatch) -> None:
    root.setattr(os, "geteuid", lambda: 1000)
    root.setenv(VARIABLE, "root")
    with pytest.raises(HostError) as caught:
        qemu_user("env/server", "")
    assert caught.value.why.startswith("only root")


def test_the_ids_of_this_namespace(tmp_path: Path) -> None:
    assert user._mapped(os.geteuid(), os.geteuid())
    assert not user._mapped(2**32 - 2, 2**32 - 1)
    assert MINE.pw_uid in user._owners()
