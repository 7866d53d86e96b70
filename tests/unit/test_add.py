"""`orchestrator add`: tables land where people would write them, and every other line stays as it was."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.cli.main import main
from orchestrator.errors import UsageError
from orchestrator.scaffold.edit import added, block
from orchestrator.scaffold.entries import Entry, MachineOptions, check, free_address, machine

ROOT = Path(__file__).parents[2]
TOPOLOGY = """\
# The shop.
name = "shop"   # a name

[networks.lan]
subnet = "10.0.0.0/24"

[images.base]
debian = "base.toml"

# -- machines

[machines.web]
image = "base"     # as all
networks.lan.address = "10.0.0.5"

# -- services

[services.nginx]
machine = "web"
unit = "nginx.service"
[services.nginx.checks.port]
tcp = "127.0.0.1:80"

[services.app]
machine = "web"
unit = "app.service"
checks.port = { tcp = "127.0.0.1:81" }   # near

# -- variants

[variants.small]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "orchestrator.toml"
    path.write_text(TOPOLOGY)
    return path


def after(file: Path, line: str) -> str:
    """What follows a line of the file, up to the next empty line but one."""
    text = file.read_text()
    return text[text.index(line) + len(line) :]


def test_a_machine_gets_the_only_image_and_the_next_address(file: Path) -> None:
    assert main(["add", "machine", "cache", "--memory", "512MiB", "--port", "6379"]) == 0
    new = '[machines.cache]\nimage = "base"\nmemory = "512MiB"\nnetworks.lan.address = "10.0.0.6"\nports = ["6379"]\n'
    assert after(file, 'networks.lan.address = "10.0.0.5"\n').startswith(f"\n{new}\n# -- services\n")


def test_a_recipe_becomes_an_image_of_the_same_name(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "machine", "cache", "--recipe", "images/cache.toml"]) == 0
    assert "there is no images/cache.toml yet" in capsys.readouterr().err
    data = tomllib.loads(file.read_text())
    assert data["images"]["cache"] == {"debian": "images/cache.toml"}
    assert data["machines"]["cache"]["image"] == "cache"
    assert after(file, 'debian = "base.toml"\n').startswith("\n[images.cache]\n")


def test_a_service_with_all_options(file: Path) -> None:
    words = [
        "--unit",
        "x.service",
        "--kind",
        "oneshot",
        "--depends-on",
        "app",
        "--depends-on",
        "nginx",
        "--timeout",
        "2m",
    ]
    assert main(["add", "service", "job", *words, "--description", "fills it"]) == 0
    new = (
        '[services.job]\nmachine = "web"\nunit = "x.service"\nkind = "oneshot"\ntimeout = "2m"\n'
        'description = "fills it"\ndepends_on = ["app", "nginx"]\n'
    )
    assert after(file, "# near\n").startswith(f"\n{new}\n# -- variants\n")


def test_a_target_has_no_unit(file: Path) -> None:
    assert main(["add", "service", "all", "--kind", "target", "--depends-on", "app"]) == 0
    assert tomllib.loads(file.read_text())["services"]["all"] == {
        "machine": "web", "kind": "target", "depends_on": ["app"],
    }  # fmt: skip


def test_a_check_is_written_as_those_beside_it(file: Path) -> None:
    assert (
        main(["add", "check", "ping", "--service", "app", "--exec", "echo 'a b'", "--stdout", "a", "--user", "web"])
        == 0
    )
    line = 'checks.ping = { exec = ["echo", "a b"], user = "web", stdout = "a" }\n'
    assert after(file, "# near\n").startswith(f"{line}\n# -- variants\n")
    assert main(["add", "check", "page", "--service", "nginx", "--http", "http://127.0.0.1/", "--status", "204"]) == 0
    new = '[services.nginx.checks.page]\nhttp = "http://127.0.0.1/"\nstatus = 204\n'
    assert after(file, 'tcp = "127.0.0.1:80"\n').startswith(f"\n{new}\n[services.app]\n")


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["--tcp", "127.0.0.1:80"], {"tcp": "127.0.0.1:80"}),
        (["--exists", "/run/x"], {"file": "/run/x"}),
        (["--unit", "y.service"], {"unit": "y.service"}),
        (["--dns", "web", "--timeout", "9"], {"dns": "web", "timeout": "9"}),
        (
            ["--http", "http://web/", "--contains", "x", "--from", "web"],
            {"http": "http://web/", "contains": "x", "from": "web"},
        ),
    ],
)
def test_every_kind_of_check(file: Path, words: list[str], keys: dict[str, object]) -> None:
    assert main(["add", "check", "one", "--service", "nginx", *words]) == 0
    assert tomllib.loads(file.read_text())["services"]["nginx"]["checks"]["one"] == keys


def test_dry_run_shows_the_diff_and_writes_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "service", "redis", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("--- orchestrator.toml\n+++ orchestrator.toml\n@@ ")
    assert "\n+[services.redis]\n" in shown
    assert file.read_text() == TOPOLOGY


def test_permissions_and_links_stay(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere.toml"
    file.rename(real)
    real.chmod(0o640)
    file.symlink_to(real)
    assert main(["add", "service", "redis"]) == 0
    assert file.is_symlink()
    assert "[services.redis]" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


# ------------------------------------------------------------------ what is refused; the file stays as it is


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["machine", "web"], "machines.web is there already"),
        (["machine", "Web!"], "Web!"),
        (["machine", "x", "--memory", "5"], "memory"),
        (["machine", "x", "--network", "wan"], 'no network "wan"'),
        (["machine", "x", "--address", "10.0.0.5"], "10.0.0.5"),
        (["machine", "x", "--http", "http://x/", "--unit", "y"], "a machine has no --unit, --http"),
        (["service", "nginx"], "services.nginx is there already"),
        (["service", "x", "--machine", "wbe"], "wbe"),
        (["service", "x", "--depends-on", "y"], '"y"'),
        (["check", "x"], "a check needs --service"),
        (["check", "x", "--service", "ngin", "--tcp", "a:1"], 'did you mean "nginx"?'),
        (["check", "port", "--service", "app", "--tcp", "a:1"], "services.app.checks.port is there already"),
        (["check", "x", "--service", "app"], "a check needs its kind"),
        (["check", "x", "--service", "app", "--exec", "echo 'a"], "--exec cannot be divided into words"),
        (["check", "x", "--service", "app", "--tcp", "a:1", "--http", "http://x/"], "tcp"),
        (["check", "x", "--service", "app", "--tcp", "nonsense"], "nonsense"),
        (["check", "x", "--service", "app", "--status", "200"], "the topology would be wrong with this check"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["add", *words]) == 2
    assert said in capsys.readouterr().err
    assert file.read_text() == TOPOLOGY


def test_the_place_of_what_would_be_wrong_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "service", "x", "--depends-on", "y"]) == 2
    shown = capsys.readouterr().err
    assert "orchestrator.toml:" in shown
    assert "[services.x]" in shown
    assert "nothing was written" in shown


def test_a_file_that_is_wrong_already_is_not_touched(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(TOPOLOGY + "[nonsense]\n")
    assert main(["add", "service", "x"]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert file.read_text() == TOPOLOGY + "[nonsense]\n"


def test_without_a_topology_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["add", "service", "x"]) == 2
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ forms of files

WAYS = {
    "dotted": 'name = "x"\nimages.i.debian = "a"\nmachines.a = { image = "i" }   # here\n',
    "tables with braces": 'name = "x"\n[images]\ni = { debian = "a" }\n[machines]\na = { image = "i" } #\n[services]\n',
    "braces": 'name = "x"\nimages = { i = { debian = "a" } }\nmachines = { a = { image = "i" } }\n',
    "tables apart": '[machines.a]\nimage = "i"\n[services.s]\nmachine = "a"\n# end\n[machines.b]\nimage = "i"\n',
    "no newline at the end": '[machines.a]\nimage = "i"',
    "windows": '[machines.a]\r\nimage = "i"\r\n\r\n# next\r\n[services.s]\r\nmachine = "a"\r\n',
    "nothing": "",
}


@pytest.mark.parametrize("way", WAYS)
def test_every_form_of_a_file_can_be_extended(way: str) -> None:
    text = WAYS[way]
    entry = Entry(("machines", "new"), {"image": "i", "networks": {"lan": {"address": "10.0.0.9"}}})
    made = added(text, entry)
    expected = tomllib.loads(text)
    expected.setdefault("machines", {})["new"] = {"image": "i", "networks": {"lan": {"address": "10.0.0.9"}}}
    assert tomllib.loads(made) == expected
    assert all(line in made for line in text.splitlines() if "machines = {" not in line)
    assert "\n\n\n" not in made


def test_the_shipped_topology_can_be_extended_at_each_service() -> None:
    text = (ROOT / "orchestrator.toml").read_text()
    for name in tomllib.loads(text)["services"]:
        entry = check(tomllib.loads(text), "extra", name, {"http": "http://x/", "json": {"a": "b"}})
        made = added(text, entry)
        assert [line for line in made.splitlines() if line in text.splitlines()]
        assert tomllib.loads(made)["services"][name]["checks"]["extra"] == {"http": "http://x/", "json": {"a": "b"}}


NAMES = some.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)


@given(
    machines=some.lists(NAMES, unique=True, max_size=4),
    comment=some.text(some.characters(exclude_categories=["C"]), max_size=20),
    empty=some.integers(0, 3),
    name=NAMES,
)
def test_whatever_stands_around_it_stays(machines: list[str], comment: str, empty: int, name: str) -> None:
    tables = [f'# {comment}\n[machines.{one}]\nimage = "i"  # {comment}\n' + "\n" * empty for one in machines]
    text = "".join(tables) + '[services.s]\nunit = "x"\n'
    if name in machines:
        return
    made = added(text, Entry(("machines", name), {"image": "i"}))
    assert list(tomllib.loads(made)["machines"]) == [*machines, name]
    lines = iter(made.splitlines())
    assert all(any(line == other for other in lines) for line in text.splitlines() if line)


# ------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("subnet", "used", "expected"),
    [
        ("10.0.0.0/24", [], "10.0.0.10"),
        ("10.0.0.0/24", ["10.0.0.2"], "10.0.0.3"),
        ("10.0.0.0/24", ["10.0.0.254"], "10.0.0.1"),
        ("10.0.0.0/30", [], "10.0.0.2"),
        ("10.0.0.0/30", ["10.0.0.1"], "10.0.0.2"),
    ],
)
def test_the_next_free_address(subnet: str, used: list[str], expected: str) -> None:
    machines = {f"m{at}": {"networks": {"lan": {"address": one}}} for at, one in enumerate(used)}
    assert free_address({"networks": {"lan": {"subnet": subnet}}, "machines": machines}, "lan") == expected


def test_a_full_network_says_so() -> None:
    machines = {one: {"networks": {"lan": {"address": f"10.0.0.{one}"}}} for one in ("1", "2")}
    with pytest.raises(UsageError) as caught:
        free_address({"networks": {"lan": {"subnet": "10.0.0.0/30"}}, "machines": machines}, "lan")
    assert "no address" in caught.value.what


def test_without_networks_a_machine_has_none() -> None:
    entry = machine({"images": {"i": {}}}, "a", MachineOptions())
    assert block(entry) == '[machines.a]\nimage = "i"\n'
