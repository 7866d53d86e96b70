"""Who QEMU is where root starts it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import HostError
from orchestrator.vm import user
from orchestrator.vm.user import FIRST, LAST, VARIABLE, Claims, pick, qemu_user

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


CLAIM = """
import sys, time
from pathlib import Path
from orchestrator.vm.user import Claims
mine = Claims(Path(sys.argv[1]))
print([number for number in range(60706, 60726) if mine.add(number)], flush=True)
time.sleep(60)
"""


def test_two_commands_at_once_never_take_the_same_user(tmp_path: Path) -> None:
    file = tmp_path / "users"
    mine = Claims(file)
    assert mine.add(FIRST)
    assert not mine.add(FIRST)
    with subprocess.Popen([sys.executable, "-c", CLAIM, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert json.loads(other.stdout.readline()) == list(range(FIRST + 1, FIRST + 20))
        assert not mine.add(FIRST + 1)
        other.kill()
    assert mine.add(FIRST + 1), "it is free with its holder, whose QEMU has it by then"


def test_a_host_without_that_place_gives_users_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    for place in (tmp_path / "nowhere" / "users", tmp_path / "link"):
        mine = Claims(place)
        assert mine.add(FIRST)
        assert not mine.add(FIRST)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(user, "_can_change", lambda: True)
    monkeypatch.setattr(user, "_claims", Claims(tmp_path / "users"))
    return monkeypatch


def test_root_gives_qemu_another_user(root: pytest.MonkeyPatch) -> None:
    number = int(qemu_user("env/server", "exec qemu").partition(":")[0])
    assert FIRST <= number <= LAST
    assert number not in user._owners()


@pytest.mark.parametrize("script", ["exec qemu -virtfs local,path=/nix/store", "exec qemu \\\n    -fsdev local,id=x"])
def test_a_machine_with_shared_folders_stays(root: pytest.MonkeyPatch, script: str) -> None:
    assert qemu_user("env/server", script) == ""


def test_others_stay_who_they_are(root: pytest.MonkeyPatch) -> None:
    root.setattr(user, "_can_change", lambda: False)
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


def test_machines_started_at_once_get_different_users(root: pytest.MonkeyPatch) -> None:
    """Also where their names ask for the same one."""
    root.setattr(user.zlib, "crc32", lambda _: 7)
    assert len({qemu_user(f"env/{number}", "") for number in range(20)}) == 20


def test_the_ids_of_a_namespace() -> None:
    assert user._mapped("         0          0 4294967295\n", FIRST, LAST)
    assert user._mapped("0 100000 65536\n", FIRST, LAST)
    assert not user._mapped("0 1000 1\n", FIRST, LAST)
    assert not user._mapped("0 1000 1\n1 100000 1000\n", FIRST, LAST)
    assert MINE.pw_uid in user._owners()


def test_a_root_without_capabilities_stays() -> None:
    """As in a container that has none."""
    if os.geteuid() != 0:
        assert not user._can_change()
        return
    assert user._can_change()
    code = "from orchestrator.vm.user import _can_change; print(_can_change())"
    dropped = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", sys.executable, "-c", code]
    assert subprocess.run(dropped, capture_output=True, text=True, check=True).stdout == "False\n"
