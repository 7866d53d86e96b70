"""What a recipe puts into an image: the server's files for each variant, copies, links, units."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RecipeError
from orchestrator.images.manifest import Kind, LayerEntry
from orchestrator.images.recipe_layer import checked, file_entries, started_by_boot, unit_text, writer
from orchestrator.images.recipe_load import load_recipe

ROOT = Path(__file__).parents[2]
STACK: dict[str, Any] = tomllib.loads((ROOT / "stack/stack.toml").read_text())
VARIANTS = ["mock", "minimal", "full"]
UNITS = "/etc/systemd/system/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, LayerEntry]]:
    """Variant → target → what the server has there beyond the base."""
    base = {entry.target for entry in entries(ROOT / "orchestrator/images/bases/base.toml", tmp_path_factory, "")}
    return {
        variant: {
            entry.target: entry
            for entry in entries(ROOT / "debian-images/server.toml", tmp_path_factory, variant)
            if entry.target not in base
        }
        for variant in VARIANTS
    }


def entries(path: Path, factory: pytest.TempPathFactory, variant: str) -> tuple[LayerEntry, ...]:
    return checked(file_entries(load_recipe(path, variant=variant), writer(factory.mktemp("texts"))))


def text(entry: LayerEntry) -> str:
    return entry.source.read_text() if entry.source else ""


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_text_of_every_file_is_as_recorded(variant: str, server: dict[str, dict[str, LayerEntry]]) -> None:
    copied = ("/opt/mocks", "/usr/local/lib/alicia-stack")  # files of the repository as they are
    found = "".join(
        f"=== {target} {entry.kind} {entry.mode:04o} {entry.owner}:{entry.group} {entry.to}\n{text(entry)}"
        for target, entry in server[variant].items()
        if not target.startswith(copied)
    )
    assert found == (ROOT / f"tests/golden/stack-server-{variant}.txt").read_text()


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_secret_stands_where_everybody_can_read_it(variant: str, server: dict[str, dict[str, LayerEntry]]) -> None:
    secrets = [STACK["database"]["password"], *STACK["secrets"]["mock"].values()]
    for target, entry in server[variant].items():
        if not target.startswith("/opt/mocks") and any(secret in text(entry) for secret in secrets):
            assert entry.mode == 0o640, target
            assert entry.group != "root"


def test_the_full_variant_brings_no_keys_of_its_own(server: dict[str, dict[str, LayerEntry]]) -> None:
    assert "KEY" not in text(server["full"]["/etc/alicia/env"])
    unit = text(server["full"][f"{UNITS}alicia.service"])
    assert "EnvironmentFile=-/run/alicia-secrets/alicia.env" in unit
    assert "ALICIA_LIVEKIT_API_KEY" in text(server["mock"]["/etc/alicia/env"])
    assert "POSTGRES" not in text(server["mock"]["/etc/alicia/mocks.env"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_unit_starts_by_the_boot_or_drags_another_along(
    variant: str, server: dict[str, dict[str, LayerEntry]]
) -> None:
    for target, entry in server[variant].items():
        found = text(entry) if target.startswith(UNITS) else ""
        if target.endswith(".target") or "[Unit]" not in found:
            continue
        assert "[Install]" not in found, target
        assert not any(line.startswith(("Requires=", "BindsTo=", "Wants=")) for line in found.splitlines())
        assert "Restart=on-failure" not in found
        assert "ExecStartPost" not in found


def test_variants_leave_out_their_mocks_and_reach_nobody_in_their_place(
    server: dict[str, dict[str, LayerEntry]],
) -> None:
    assert f"{UNITS}mock-livekit.service" in server["mock"]
    assert f"{UNITS}mock-livekit.service" not in server["minimal"]
    assert f"{UNITS}mock-llm.service" in server["minimal"]
    assert f"{UNITS}mock-llm.service" not in server["full"]
    assert "mock-" not in text(server["full"][f"{UNITS}alicia-stack.target"])
    minimal = text(server["minimal"][f"{UNITS}alicia.service"])
    for name, scheme in (("ASR", "http"), ("TTS", "http"), ("LIVEKIT", "ws")):
        assert f'"ALICIA_{name}_URL={scheme}://127.0.0.1:9"' in minimal
    assert '"ALICIA_ASR_URL=http://127.0.0.1:8000"' in text(server["mock"][f"{UNITS}alicia.service"])


def test_the_firewall_lets_in_what_the_specification_names(server: dict[str, dict[str, LayerEntry]]) -> None:
    rules = text(server["mock"]["/etc/nftables.conf"])
    assert "tcp dport { 80, 8888 } accept" in rules
    assert "ip saddr 10.0.2.2 tcp dport 22 accept" in rules
    assert "policy drop" in rules


@pytest.mark.parametrize("variant", VARIANTS)
def test_nginx_has_no_directive_twice_where_it_takes_one(
    variant: str, server: dict[str, dict[str, LayerEntry]]
) -> None:
    seen: set[tuple[int, str]] = set()
    depth = 0
    for line in text(server[variant]["/etc/nginx/nginx.conf"]).splitlines():
        words = line.split()
        if line.strip() == "}":
            depth -= 1
        elif line.rstrip().endswith("{"):
            depth += 1
            seen = {one for one in seen if one[0] < depth}
        elif words and depth:
            repeatable = words[0] in ("add_header", "proxy_hide_header", "proxy_set_header", "listen", "include")
            name = " ".join(words[:2]) if repeatable else words[0]
            assert (depth, name) not in seen, line
            seen.add((depth, name))


def test_a_copied_folder_keeps_executable_bits_and_links_and_leaves_out_what_it_should(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("bin/run", "a b/ü.txt", "__pycache__/x.pyc", "left/out"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "bin/run").chmod(0o700)
    (tree / "link").symlink_to("bin/run")
    (tree / "folder").symlink_to("bin")
    (tmp_path / "x.toml").write_text(
        '[users.joe]\n[folders."/opt/t"]\nsource = "tree"\nexclude = ["left"]\nowner = "joe"\nmode = "0700"\n'
    )
    found = {one.target: one for one in file_entries(load_recipe(tmp_path / "x.toml"), writer(tmp_path / "w"))}
    assert {target: f"{one.kind} {one.mode:o} {one.owner} {one.to}".strip() for target, one in found.items()} == {
        "/opt/t": "directory 700 joe",
        "/opt/t/a b": "directory 755 joe",
        "/opt/t/a b/ü.txt": "file 644 joe",
        "/opt/t/bin": "directory 755 joe",
        "/opt/t/bin/run": "file 755 joe",
        "/opt/t/link": "symlink 777 root bin/run",
        "/opt/t/folder": "symlink 777 root bin",
    }


def test_units_are_enabled_masked_and_extended(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'enable = ["a.service"]\nmask = ["b.timer"]\n'
        '[units."a.service".Install]\nWantedBy = ["multi-user.target", "x.target"]\n'
        '[drop_ins."c.service".Service]\nRestart = false\nExecStart = ["", "/b"]\n'
    )
    found = {one.target: one for one in file_entries(load_recipe(tmp_path / "x.toml"), writer(tmp_path / "w"))}
    assert found[f"{UNITS}b.timer"].to == "/dev/null"
    assert found[f"{UNITS}x.target.wants/a.service"].to == f"{UNITS}a.service"
    assert found[f"{UNITS}multi-user.target.wants/a.service"].kind is Kind.SYMLINK
    assert text(found[f"{UNITS}c.service.d/50-recipe.conf"]) == "[Service]\nRestart=no\nExecStart=\nExecStart=/b\n"


def test_a_unit_without_install_cannot_be_enabled(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('enable = ["a.service"]\n[units."a.service".Service]\nExecStart = "/a"\n')
    with pytest.raises(RecipeError, match=r"a\.service cannot be enabled") as error:
        list(file_entries(load_recipe(tmp_path / "x.toml"), writer(tmp_path / "w")))
    assert error.value.where == (f"{tmp_path}/x.toml:1:11",)


def test_environment_of_a_unit_is_quoted() -> None:
    unit = unit_text({"Environment": {"A": 'say "x" 50%\\'}})
    assert unit == '[Service]\nEnvironment="A=say \\"x\\" 50%%\\\\"\n'


def test_two_entries_on_one_target_are_refused_and_folders_are_joined() -> None:
    usual, owned = LayerEntry(Kind.DIRECTORY, "/a"), LayerEntry(Kind.DIRECTORY, "/a", owner="joe")
    assert checked([owned, usual]) == checked([usual, owned]) == (owned,)
    with pytest.raises(RecipeError) as error:
        checked([usual, LayerEntry(Kind.SYMLINK, "/a", to="/b")])
    assert error.value.evidence == ("/a: named twice, as directory and as symlink",)


def test_the_boot_starts_no_unit_that_the_topology_has() -> None:
    paths = [
        f"{UNITS}multi-user.target.wants/redis.service",
        f"{UNITS}x.service.requires/redis.service",
        "/usr/lib/systemd/system/redis.service",
        f"{UNITS}multi-user.target.wants/cron.service",
        f"{UNITS}redis.service",
    ]
    assert started_by_boot(paths, ["redis.service"]) == sorted(paths[:2])
