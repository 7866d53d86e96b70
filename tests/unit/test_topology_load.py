"""The loader: what it makes of a good file, and every problem of a bad one with its place."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

import pytest
from topology_samples import GOLDEN, SHIPPED, alicia, completed, folder, one, problems, write

from orchestrator.errors import TopologyError
from orchestrator.services.checks.exec import ExecCheck
from orchestrator.services.checks.http import HttpCheck
from orchestrator.services.checks.unit import UnitCheck
from orchestrator.topology.check_kind import CheckKind
from orchestrator.topology.image_source import IMAGE_SOURCES
from orchestrator.topology.keys import FIXED_KEYS
from orchestrator.topology.load import load_topology, load_variants, missing_files
from orchestrator.topology.model import Check, Condition, Dependency, PortForward, Service, ServiceKind

S = TypeVar("S", bound=CheckKind)


def spec(service: Service, kind: type[S]) -> S:
    """The first check of a service, which is of this kind."""
    found = service.checks[0].spec
    assert isinstance(found, kind)
    return found


def test_a_whole_file(tmp_path: Path) -> None:
    topology = load_topology(alicia(tmp_path))
    assert (topology.name, topology.variant) == ("alicia", "mock")
    assert topology.variants == ("mock", "minimal", "full")
    assert topology.layers["app"].source == tmp_path / "standin"
    assert [layer.name for layer in topology.layers_of("server")] == ["app"]
    assert topology.layers_of("client") == ()
    assert topology.root == tmp_path
    server = topology.machines["server"]
    assert (server.cpus, server.memory, server.ports) == (2, 1024, (PortForward(0, 80),))
    assert server.links[0].address == IPv4Address("192.168.1.2")
    assert server.links[0].prefix == 24
    migrations = topology.services["migrations"]
    assert migrations.kind is ServiceKind.ONESHOT
    assert migrations.depends_on == (Dependency("database", Condition.COMPLETED),)
    assert spec(migrations, ExecCheck).user == "postgres"
    assert topology.services["nginx"].depends_on == (Dependency("backend", Condition.HEALTHY),)
    assert spec(topology.services["backend"], HttpCheck).json == {"status": "ok"}
    assert topology.suite is not None
    assert [phase.stop for phase in topology.suite.phases] == [(), ("backend",)]


def test_the_shipped_file_in_all_its_variants(tmp_path: Path) -> None:
    # Not in place: whether application and suite are complete is not this file's business.
    found = load_variants(write(tmp_path, SHIPPED.read_text(encoding="utf-8")))
    assert {"mock", "minimal", "full"} <= set(found)


def test_all_problems_of_a_bad_file_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, (GOLDEN / "bad.toml").read_text(encoding="utf-8"))
    found = "\n".join(problems(file)) + "\n"
    sources = sorted(IMAGE_SOURCES.own().items())
    keys = ", ".join(f'"{key}"' for name, kind in sources for key in kind.own_keys() if key.startswith(name))
    assert found == (GOLDEN / "bad.problems").read_text(encoding="utf-8").replace("{images}", keys)


def test_the_error_names_the_file_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 'name = "x"\nmachine = 1\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TopologyError) as caught:
        load_topology(Path("orchestrator.toml"))
    assert caught.value.exit_code == 2
    assert caught.value.what == "the topology orchestrator.toml has 2 problems"
    assert caught.value.evidence == (
        "orchestrator.toml:1:1: a topology has no machines",
        'orchestrator.toml:2:1: "machine" is not a key of a topology (did you mean "machines"?)',
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('name = "x"\nsubnet = = 1\n', "orchestrator.toml:2:10: TOML: Invalid value"),
        ('name = "x"\n[machines\n', "orchestrator.toml:2:10: TOML: Expected ']' at the end of a table declaration"),
        ('name = "x', "orchestrator.toml:1:10: TOML: Unterminated string"),
        ('name = "x"\nname = "y"\n', "orchestrator.toml:2:11: TOML: Cannot overwrite a value"),
        ("x = " + "[" * 5000, "orchestrator.toml:1:1: TOML: tables or arrays are nested too deeply"),
    ],
)
def test_syntax_errors_have_a_place(text: str, line: str, tmp_path: Path) -> None:
    assert problems(write(tmp_path, text)) == [line]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    file.write_bytes(b'name = "x"\napp = "\xff"\n')
    assert problems(file) == ["orchestrator.toml:2:8: byte 0xff is not UTF-8"]


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    text = completed("").encode()
    file = write(tmp_path, "")
    file.write_bytes(b"\xef\xbb\xbf" + text)
    assert load_topology(file).name == "shop"
    file.write_bytes(b"\xef\xbb\xbf" + b"nme = 1\n" + text)
    assert problems(file) == ['orchestrator.toml:1:1: "nme" is not a key of a topology (did you mean "name"?)']
    file.write_bytes(b"\xef\xbb\xbf" + b"a = 1\nb = \xff\n")
    assert problems(file) == ["orchestrator.toml:2:5: byte 0xff is not UTF-8"]


def test_no_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    with pytest.raises(TopologyError) as caught:
        load_topology(tmp_path / "orchestrator.toml")
    assert caught.value.why == f"looked at {tmp_path / 'orchestrator.toml'}"
    assert caught.value.hint == "change to the folder that holds it, or name it"
    write(tmp_path, "")
    with pytest.raises(TopologyError) as caught:
        load_topology(tmp_path / "inner" / "orchestrator.toml")
    assert caught.value.hint == f"there is one at {tmp_path / 'orchestrator.toml'}"
    with pytest.raises(TopologyError, match="cannot be read"):
        load_topology(tmp_path)


def test_a_daemon_without_checks_must_be_active(tmp_path: Path) -> None:
    text = '[services.web]\nmachine = "server"\nunit = "web.service"\n[services.once]\nmachine = "server"\n'
    text += 'unit = "once.service"\nkind = "oneshot"\n'
    services = load_topology(write(tmp_path, completed(text))).services
    assert services["web"].checks == (Check("unit", "server", UnitCheck("web.service")),)
    assert services["once"].checks == ()


def chain(**depends_on: str) -> str:
    """Daemons, each with its ``depends_on`` as TOML."""
    return "".join(
        f'[services.{name}]\nmachine = "server"\nunit = "{name}.service"\ndepends_on = {value}\n'
        for name, value in depends_on.items()
    )


def test_a_unit_belongs_to_one_service(tmp_path: Path) -> None:
    text = chain(a="[]", b="[]").replace("b.service", "a.service")
    assert one(tmp_path, text) == '"unit" in service "b": "a.service" is the unit of service "a" already'
    load_topology(write(tmp_path, completed(text.replace('"server"', '"client"', 1))))


def test_cycles_are_shown(tmp_path: Path) -> None:
    text = chain(a='["b"]', b='["c"]', c='["a", "d"]', d='["c"]', e='["a"]')
    found = problems(write(tmp_path, completed(text)))
    assert found == [
        "orchestrator.toml:13:15: services wait for each other: a → b → c → a",
        "orchestrator.toml:17:15: services wait for each other: c → d → c",
    ]
    assert one(tmp_path, chain(a='["a"]')) == 'service "a" depends on itself'


def test_a_condition_that_never_holds(tmp_path: Path) -> None:
    text = chain(a="[]", b='{ a = { condition = "service_completed_successfully" } }')
    assert one(tmp_path, text) == (
        'service "b" waits for "a" to complete, which never happens: it is a daemon and keeps running '
        '(did you mean "service_healthy"?)'
    )


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('["aa"]', 'service "aa" in service "b" is not defined (did you mean "a"?)'),
        ('["a", "a"]', 'service "b" names "a" twice'),
        ('"a"', '"depends_on" in service "b": expected a list of services, or a table of them, found the string "a"'),
        ("[1]", '"depends_on" in service "b": expected a service, found the integer 1'),
        ('{ a = "service_healthy" }', 'dependency "a" of service "b": expected a table, found the string'),
        (
            '{ a = { condition = "healthy" } }',
            '"condition" in dependency "a" of service "b": expected one of service_started, service_healthy, '
            'service_completed_successfully, found the string "healthy" (did you mean "service_healthy"?)',
        ),
    ],
)
def test_dependencies_that_are_refused(value: str, why: str, tmp_path: Path) -> None:
    assert one(tmp_path, chain(a="[]", b=value)).startswith(why)


def test_options_replace_layers_and_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = alicia(tmp_path)
    other = folder(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    topology = load_topology(file, layers={"app": Path("other/standin")}, suite=other / "suite")
    assert topology.layers["app"].source == other / "standin"
    assert topology.suite is not None
    assert topology.suite.path == other / "suite"


def test_required_parts_of_a_layer_are_named(tmp_path: Path) -> None:
    file = alicia(tmp_path)
    (tmp_path / "standin" / "bin" / "alicia").unlink()
    (tmp_path / "standin" / "share" / "alicia" / "migrations" / "0001_first.up.sql").unlink()
    assert problems(file) == [
        'orchestrator.toml:20:10: "source" in layer "app": standin/bin/alicia is missing',
        'orchestrator.toml:20:10: "source" in layer "app": standin/share/alicia/migrations/*.up.sql is missing',
    ]
    found = problems(file, layers={"app": tmp_path / "nowhere"}, suite=tmp_path / "no-suite")
    assert found[0].startswith("--layer app: nowhere is not a folder; it should hold bin/alicia")
    assert found[1] == "--suite: no-suite is not a folder"
    assert len(found) == 2


def test_a_suite_needs_a_table(tmp_path: Path) -> None:
    file = write(tmp_path, completed(""))
    assert problems(file, suite=tmp_path) == ["--suite: the topology has no [suite] table to put it in"]


def test_files_with_keys_may_be_missing_when_loading(tmp_path: Path) -> None:
    file = alicia(tmp_path)
    full = load_topology(file, variant="full")
    assert full.machines["server"].files[0].mode == 0o600
    source = tmp_path / "secrets" / "alicia.env"
    assert missing_files(full) == (f'machine "server" needs {source}, which does not exist',)
    source.parent.mkdir()
    source.touch()
    assert missing_files(full) == ()
    assert missing_files(load_topology(file)) == ()


@pytest.mark.parametrize("pattern", FIXED_KEYS)
def test_an_unknown_key_is_found_in_every_table(pattern: str, tmp_path: Path) -> None:
    text = (GOLDEN / "every-table.toml").read_text(encoding="utf-8")
    marker = f"# {pattern or 'file'}\n"
    assert text.count(marker) == 1
    file = write(tmp_path, text.replace(marker, "zzz = 1\n"))
    line = text[: text.index(marker)].count("\n") + 1
    found = problems(file)
    assert len(found) == 1
    assert found[0].startswith(f'orchestrator.toml:{line}:1: "zzz" is not a key of ')


def test_a_wrong_type_is_found_for_every_key(tmp_path: Path) -> None:
    """Whatever stands in place of any value: problems with a place, never a traceback."""
    load_topology(write(tmp_path, (GOLDEN / "every-table.toml").read_text(encoding="utf-8")))
    lines = (GOLDEN / "every-table.toml").read_text(encoding="utf-8").splitlines()
    tried = 0
    for number, line in enumerate(lines):
        if " = " not in line:
            continue
        for wrong in ("1979-05-27", "-7", '"\\u0000"', "{ x = [] }", "[[]]", "[-7]", "nan", '""', "true", "[]"):
            text = "\n".join((*lines[:number], f"{line.split(' = ')[0]} = {wrong}", *lines[number + 1 :]))
            file = write(tmp_path, text)
            try:
                load_variants(file)
            except TopologyError as error:
                assert all(":" in place for place in error.evidence)
                tried += 1
    assert tried > 200


def test_loading_imports_nothing_from_outside(tmp_path: Path) -> None:
    code = "import sys, orchestrator.topology.load, orchestrator.topology.graph, orchestrator.topology.effective\n"
    code += "print(*sorted({m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=SHIPPED.parent
    )
    assert done.stdout.split() == ["__main__", "orchestrator"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[accept]]\nsign = "oops"\n', '"accept" of a topology is called "waivers" now'),
        (
            '[[waivers]]\nsign = "oops"\npattern = "oops"\nreason = "known"\nuntil = 2030-01-01\n',
            '"sign" of waiver 1 is called "pattern" now',
        ),
    ],
)
def test_a_key_of_an_earlier_version_is_refused_with_its_new_name(text: str, problem: str, tmp_path: Path) -> None:
    assert one(tmp_path, text) == problem
