"""The readers that check-nix compares with, on the corners of each syntax, and on real nginx where there is one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

from check_nix_facts import nginx_text, run_script, without_hashes
from check_nix_texts import (
    derivation_environment,
    environment_of,
    inherited,
    nginx_tree,
    postgresql_settings,
    sshd_settings,
    unit_sections,
)
from check_nix_tools import check_firewall, check_nginx, check_postgresql, check_sshd, check_systemd
from nix_facts import SERVERS, facts

PATH = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-name-1.0"


def test_a_derivation_gives_its_environment() -> None:
    text = (
        f'Derive([("out","{PATH}","","")],[("{PATH}.drv",["out"])],[],"x86_64-linux","/bin/sh",["-e"],'
        '[("name","a\\"b"),("text","one\\n\\ttwo"),("__json","{\\"more\\":\\"x\\",\\"list\\":[1]}")])'
    )
    found = derivation_environment(text)
    assert found["name"] == 'a"b'
    assert found["text"] == "one\n\ttwo"
    assert found["more"] == "x"
    assert "list" not in found
    with pytest.raises(ValueError, match="no derivation"):
        derivation_environment("else")
    with pytest.raises(ValueError, match="cannot be read"):
        derivation_environment("Derive(")


def test_hashes_go_and_names_stay() -> None:
    assert without_hashes({"a": [f"x {PATH}/bin/y"]}) == {"a": ["x /nix/store/name-1.0/bin/y"]}


def test_units_keep_lists_and_empty_values_clear_them() -> None:
    text = '[Unit]\nAfter=a b\n# c\n[Service]\nExecStart=x\nExecStart=\nExecStart=y \\\n  z\nEnvironment="A=1 2" B=3\n'
    found = unit_sections(text)
    assert found["Unit"]["After"] == ["a b"]
    assert found["Service"]["ExecStart"] == ["y    z"]
    assert environment_of(found["Service"]) == {"A": "1 2", "B": "3"}


def test_settings_lose_quotes_and_spellings() -> None:
    assert postgresql_settings("a = 'x''y' # c\nb=yes\nc = 5\n# d = 1\n") == {"a": "x'y", "b": "on", "c": "5"}
    assert sshd_settings("# x\nPort 1\nPort 2\nSetEnv A=b c\n") == {"Port": "1", "SetEnv": "A=b c"}


def test_nginx_is_read_as_nginx_reads_it() -> None:
    tree = nginx_tree(
        "http { # comment with ; and }\n map $a $b { default \"x; y\"; '' z; }\n"
        " server { add_header A '1; 2' always; location ~* \\.(js|css)$ { try_files $uri =404; }\n"
        " location = /b { add_header B c; } } }"
    )
    table = tree[0].body[0]  # type: ignore[index]
    assert [one.words for one in table.body or ()] == [("default", "x; y"), ("", "z")]
    assert inherited(tree, "add_header") == {r"~* \.(js|css)$": ["A 1; 2 always"], "= /b": ["B c"]}
    assert nginx_tree(nginx_text(tree)) == tree
    for wrong in ("a { b;", "a; }", "a", ";"):
        with pytest.raises(ValueError, match=r"the end came|unexpected|semicolon"):
            nginx_tree(wrong)


def test_a_run_script_gives_its_arguments() -> None:
    script = (
        '#!/bin/sh\n/nix/store/q/bin/qemu-img create "$NIX_DISK_IMAGE"\nexec /nix/store/q/bin/qemu -m 1 \\\n  "$@"\n'
    )
    assert run_script(script) == {
        "text": script,
        "program": "qemu",
        "arguments": ["-m", "1", "$@"],
        "variables": ["NIX_DISK_IMAGE"],
        "programs": ["qemu-img"],
    }
    with pytest.raises(ValueError, match="exec"):
        run_script("#!/bin/sh\ntrue\n")


@pytest.mark.slow
@pytest.mark.parametrize("machine", SERVERS)
def test_the_real_programs_accept_the_evaluated_texts(machine: str) -> None:
    one = facts(machine)
    outcomes = [
        check_nginx(one["nginx"]["text"]),
        check_systemd(one["units"]),
        check_postgresql(one["postgresql"]["conf"], one["postgresql"]["hba"], "17"),
        check_sshd(one["sshd"]),
        check_firewall(one["firewall"]),
    ]
    if all(outcome.state == "skipped" for outcome in outcomes):
        pytest.skip("none of the programs is here")
    assert [outcome for outcome in outcomes if outcome.state == "failed"] == []


@pytest.mark.slow
def test_the_real_programs_refuse_what_is_wrong() -> None:
    one = facts("server-mock")
    conf, hba = one["postgresql"]["conf"], one["postgresql"]["hba"]
    refused = {
        "nginx": check_nginx(one["nginx"]["text"].replace("gzip on;", "gzip on; gzip on;")),
        "systemd": check_systemd(
            {"alicia.service": one["units"]["alicia.service"].replace("Type=exec", "Type=nonsense")}
        ),
        "setting": check_postgresql(conf.replace("'4MB'", "'4 bananas'"), hba, "17"),
        "rule": check_postgresql(conf, "local all all nobody-knows\n", "17"),
        "sshd": check_sshd(one["sshd"] + "Nonsense yes\n"),
        "firewall": check_firewall(one["firewall"].replace("policy drop", "policy shrug")),
    }
    if all(outcome.state == "skipped" for outcome in refused.values()):
        pytest.skip("none of the programs is here")
    assert {name for name, outcome in refused.items() if outcome.state == "passed"} == set()
