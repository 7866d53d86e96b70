"""What a script uses that is not there is told before anything boots, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.driver.testscript.check import check
from orchestrator.driver.testscript.script import Script, load_script

MACHINES = ("server", "client-2")


def findings(text: str, machines: tuple[str, ...] = MACHINES, *, nixos: bool = False) -> list[str]:
    script = Script(Path("/nowhere/x.py"), "x.py", text)
    found = check(script, machines, 1, nixos=nixos)
    return [f"{'warning: ' if one.severity == 'warning' else ''}{one}" for one in found]


@pytest.mark.parametrize(
    "text",
    [
        "start_all()\nserver.succeed('true')\nclient_2.wait_for_unit('x', timeout=3)",
        "for m in machines:\n    m.shutdown()",
        "def f(machine: QemuMachine, n: int) -> None:\n    machine.start()\n    machine.own = n\nf(server, 2)",
        "import json, os.path\nfrom datetime import timedelta\nretry(lambda last: last, timeout=timedelta(seconds=1))",
        "with subtest('a'):\n    t.assertIn('a', driver.out_dir.name)\nlog.info('x')\nlog('y')",
        "print(vlan1.nr, __name__)",
        "try:\n    pass\nexcept RequestedAssertionFailed as e:\n    print(e)",
        "server.succeed('x=1; echo ${x:-2} ${x} ${HOME} ${#x}')",
        "for host in [server, client_2]:\n    host.crash()",
        "machine = server\nmachine.anything()",
        "match server.name:\n    case str() as name if (k := name):\n        print(k, [y for y in name])",
        "server.state_dir.mkdir()\nserver.log(server.name)",
    ],
)
def test_what_is_there_is_not_told(text: str) -> None:
    assert findings(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("server.switch_root()", "x.py:1: server.switch_root: machines are set up"),
        ("\nserver.sucede('x')", "x.py:2: server.sucede: machines have no such method here"),
        ("for m in machines:\n    m.sucede('x')", "x.py:2: m.sucede: machines have no such method"),
        ("def f(m: Machine): m.sucede()", "x.py:1: m.sucede: machines have no such method"),
        ("server.succeed('x', limit=3)", "x.py:1: server.succeed: it has no parameter limit"),
        ("create_machine({})", "x.py:1: create_machine: machines are described in the topology"),
        ("client.start()", "x.py:1: client: no such machine in the topology: it has client-2, server"),
        ("machine.start()", "x.py:1: machine: which of them? the topology has client-2, server"),
        ("frobnicate()", "x.py:1: frobnicate: this name is not defined"),
        ("print(vlan2)", "x.py:1: vlan2: the topology has 1 networks"),
        ("server.shell_interact()", "x.py:1: server.shell_interact: nobody sits at a script"),
        ("driver.frobnicate", "x.py:1: driver.frobnicate: driver has no such attribute here"),
        ("log.frobnicate('x')", "x.py:1: log.frobnicate: log has no such method"),
        ("import no_such_module_here.sub", "x.py:1: no_such_module_here.sub: the module no_such_module_here is not"),
        ("server.succeed('${pkgs.curl}/bin/curl')", "x.py:1: ${pkgs.curl}: an antiquotation of Nix"),
        ("server.succeed('''\n\n  ${lib.getExe pkgs.jq} .''')", "x.py:3: ${lib.getExe pkgs.jq}: an antiquotation"),
        ("server.succeed(f'{1} {{}} /nix/store/abc')", "x.py:1: /nix/store/: no file of the Nix store"),
        ("x = 'bin/switch-to-configuration test'", "x.py:1: switch-to-configuration: machines of NixOS have it"),
        ("server.succeed('ls ${somewhere}')", "warning: x.py:1: ${somewhere}: if it is an antiquotation"),
        ("server.succeed(\n'x'", "x.py:1: syntax: '(' was never closed"),
    ],
)
def test_what_is_not_there_is_told_with_its_line(text: str, found: str) -> None:
    told = findings(text)
    assert len(told) == 1
    assert told[0].startswith(found)


def test_machine_is_the_only_machine() -> None:
    assert findings("machine.start()", ("server",)) == []
    assert findings("machine.sucede()", ("server",)) == ["x.py:1: machine.sucede: machines have no such method here"]


def test_machines_of_nixos_have_what_nixos_has() -> None:
    text = "server.succeed('/run/current-system/bin/switch-to-configuration test', 'ls /nix/store/')"
    assert findings(text, nixos=True) == []
    assert len(findings(text)) == 3


def test_a_module_beside_the_script_is_found(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("")
    (tmp_path / "x.py").write_text("import helpers\n")
    assert check(load_script(tmp_path / "x.py"), MACHINES) == []


def test_the_command_lists_all_and_starts_nothing(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("alpha.start()\n")
    bad.write_text("alpha.start()\ngamma.start()\n")
    done = Cli(tmp_path)("test", "--check", str(good))
    assert (done.returncode, done.stdout) == (0, "")
    assert "1 script: everything used is there" in done.stderr
    done = Cli(tmp_path)("test", "--check", "--json", str(good), str(bad))
    assert done.returncode == 2
    (finding,) = json.loads(done.stdout)
    assert (finding["file"], finding["line"], finding["symbol"]) == (str(bad), 2, "gamma")
    assert finding["severity"] == "error"


def test_a_run_begins_with_the_check(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f(:\n")
    done = Cli(tmp_path)("test", str(bad))
    assert done.returncode == 2
    assert f"{bad}:1: syntax: " in done.stderr
    assert "nothing was started" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = Cli(tmp_path)("test", str(tmp_path / "none.py"))
    assert done.returncode == 2
    assert "none.py cannot be read" in done.stderr
