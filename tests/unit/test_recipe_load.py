"""Recipes: what is read, what is joined, what is refused and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import ImageError, RecipeError
from orchestrator.images.recipe import Recipe
from orchestrator.images.recipe_base import base_key, script
from orchestrator.images.recipe_keys import RECIPE_KEYS
from orchestrator.images.recipe_load import base_names, load_recipe

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "debian-images"


def load(folder: Path, text: str, variant: str = "") -> Recipe:
    (folder / "box.toml").write_text(text)
    return load_recipe(folder / "box.toml", variant=variant)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        load(folder, text)
    assert error.value.exit_code == 2
    return [line.removeprefix(f"{folder}/") for line in error.value.evidence]


@pytest.mark.parametrize("variant", ["mock", "minimal", "full"])
def test_the_shipped_recipes_load(variant: str) -> None:
    server = load_recipe(SHIPPED / "server.toml", variant=variant)
    client = load_recipe(SHIPPED / "client.toml", variant=variant)
    assert {"postgresql-17-pgvector", "nginx-light", "openssh-server", "qemu-guest-agent"} <= server.packages.keys()
    assert "chromium-headless-shell" in client.packages
    assert server.kernel_parameters == client.kernel_parameters
    consoles = [one for one in server.kernel_parameters if one.startswith("console=")]
    assert consoles[-1].startswith("console=ttyS0")
    early = server.early_files()["/etc/postgresql-common/createcluster.conf"]
    assert early.content == "create_main_cluster = false\n"
    assert (server.name, client.name, client.memory) == ("server", "client", 2048)


def test_one_line_is_a_recipe(tmp_path: Path) -> None:
    made = load(tmp_path, 'include = ["orchestrator:base"]\n')
    assert (made.name, made.suite, made.size, made.memory, made.cpus) == ("box", "trixie", 2 << 30, 1024, 1)
    assert "linux-image-cloud-amd64" in made.packages
    assert "qemu-guest-agent.service" in made.units


def test_the_base_fits_release_and_processor(tmp_path: Path) -> None:
    old = load(tmp_path, 'include = ["orchestrator:base"]\nsuite = "bookworm"\narchitecture = "arm64"\n')
    assert "util-linux-extra" not in old.packages
    assert "linux-image-cloud-arm64" in old.packages
    assert "console=ttyAMA0,115200n8" in old.kernel_parameters
    own = load(tmp_path, 'include = ["orchestrator:base"]\nvariables.kernel = "linux-image-amd64"\n')
    assert "linux-image-amd64" in own.packages
    assert "linux-image-cloud-amd64" not in own.packages


def test_includes_are_joined_and_the_includer_wins(tmp_path: Path) -> None:
    (tmp_path / "common.toml").write_text(
        'suite = "bookworm"\npackages = ["zz"]\n[run]\none = "1"\n[files."/a"]\ncontent = "common"\n'
        '[files."/gone"]\ncontent = ""\n[units."u.service".Service]\nExecStart = "/a"\nUser = "joe"\n'
    )
    made = load(
        tmp_path,
        'include = ["common.toml"]\nsuite = "trixie"\npackages = ["aa"]\n[run]\ntwo = "2"\n[files]\n'
        '"/a" = { content = "own" }\n"/gone" = "absent"\n[units."u.service".Service]\nExecStart = "/b"\n',
    )
    assert list(made.packages) == ["aa", "zz"]
    assert made.suite == "trixie"
    assert list(made.run) == ["one", "two"]
    assert made.files["/a"].content == "own"
    assert "/gone" not in made.files
    assert made.units["u.service"].sections == {"Service": {"ExecStart": "/b", "User": "joe"}}


def test_an_included_template_knows_variables_data_and_variant(tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_text('[ports]\nweb = 80\n[texts]\nroot = "@app@/x"\n')
    (tmp_path / "units.toml.j2").write_text(
        '{% for name in names %}\n[units."{{ name }}.service".Service]\n'
        'ExecStart = {{ d.texts.root | fill({"app": app}) | toml }}\nUser = "{{ variant }}{{ d.ports.web }}"\n'
        "{% endfor %}\n"
    )
    made = load(
        tmp_path,
        'include = ["units.toml.j2"]\nvariables = { app = "/opt/a", names = ["one", "two"] }\ndata.d = "data.toml"\n',
        variant="mock",
    )
    assert made.units["two.service"].sections == {"Service": {"ExecStart": "/opt/a/x", "User": "mock80"}}


def test_all_problems_are_told_with_their_places(tmp_path: Path) -> None:
    text = """\
include = ["orchestrator:bas"]
packages = ["Bad_Name", 3]
nonsense = 1
size = "1KiB"
customize = { a = "b" }
[files."/etc/x"]
source = "nothere"
[files."/etc/y"]
content = ""
template = "t.j2"
[files."relative"]
content = ""
[links]
"/etc/y" = "/dev/null"
[units."foo"]
Service = { ExecStart = "/bin/true" }
[users.joe]
uid = "x"
[npm.a]
target = "/opt"
"""
    found = problems(tmp_path, text)
    for start, words in {
        "box.toml:1:12:": 'did you mean "orchestrator:base"',
        "box.toml:2:13:": "name of a Debian package",
        "box.toml:2:25:": "found the integer 3",
        "box.toml:3:1:": '"nonsense" is not a key',
        "box.toml:4:8:": "from 1MiB",
        "box.toml:5:1:": '"customize" is "run" now',
        "box.toml:7:10:": "there is no file",
        "box.toml:8:8:": "one of content, source, template",
        "box.toml:10:12:": "there is no file",
        "box.toml:11:8:": "an absolute path",
        "box.toml:14:1:": '"/etc/y" is also at',
        "box.toml:15:8:": 'did you mean "foo.service"',
        "box.toml:18:7:": "an integer from 0",
        "box.toml:19:6:": 'has no "lock"',
    }.items():
        assert any(line.startswith(start) and words in line for line in found), (start, words, found)


def test_problems_of_an_included_file_name_that_file(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("\ncpus = 0\n")
    assert problems(tmp_path, 'include = ["other.toml"]\nmemory = 3\n') == [
        'other.toml:2:8: "cpus" in a recipe: expected an integer from 1 to 64, found the integer 0',
        'box.toml:2:10: "memory" in a recipe: expected a size with its unit, like "512MiB" or "2GiB", '
        "found the integer 3",
    ]


def test_missing_broken_and_circular_recipes(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(RecipeError, match="is not TOML") as error:
        load(tmp_path, "a = ")
    assert "box.toml:1:5" in error.value.evidence[0]
    with pytest.raises(RecipeError, match="includes itself"):
        load(tmp_path.resolve(), 'include = ["box.toml"]\n')


def test_a_template_that_cannot_be_filled_in_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.toml.j2").write_text('name = "x"\nsuite = "{{ nobody }}"\n')
    with pytest.raises(RecipeError) as error:
        load(tmp_path, 'include = ["t.toml.j2"]\n')
    assert error.value.evidence == (f"{tmp_path}/t.toml.j2:2: 'nobody' is undefined",)
    (tmp_path / "t.toml.j2").write_text("{% for %}\n")
    with pytest.raises(RecipeError) as error:
        load(tmp_path, 'include = ["t.toml.j2"]\n')
    assert f"{tmp_path}/t.toml.j2:1:" in error.value.evidence[0]


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'\xef\xbb\xbfname = "y"\n')
    assert load_recipe(tmp_path / "x.toml").name == "y"


def test_what_changes_the_base_key(tmp_path: Path) -> None:
    minimal = 'packages = ["aa"]\n'
    plain = base_key(load(tmp_path, minimal), "1")
    for same in (
        'memory = "2GiB"\n',
        "cpus = 3\n",
        'kernel_parameters = ["x"]\n',
        '[files."/x"]\ncontent = "y"\n',
        '[units."u.service".Service]\nExecStart = "/x"\n',
    ):
        assert base_key(load(tmp_path, minimal + same), "1") == plain
    for other in (
        'mirror = "http://m"\n',
        'dpkg_exclude = ["/x"]\n',
        '[run]\na = "b"\n',
        "[users.joe]\n",
        '[files."/x"]\ncontent = "y"\nearly = true\n',
        'architecture = "arm64"\n',
    ):
        assert base_key(load(tmp_path, minimal + other), "1") != plain
    assert base_key(load(tmp_path, minimal), "2") != plain


def test_the_script_makes_accounts_before_the_steps(tmp_path: Path) -> None:
    made = load(
        tmp_path,
        'enable = ["x.service"]\n[run]\nlast = "true"\n[groups.g]\ngid = 70\n'
        '[users.joe]\ngroups = ["g"]\n[users.sys]\nsystem = true\ncomment = "it\'s"\n',
    )
    lines = [line for line in script(made).splitlines() if not line.startswith(("echo", "usermod"))]
    assert lines == [
        "groupadd --gid 70 g",
        "useradd --user-group --home-dir /home/joe --shell /bin/bash --create-home --groups g joe",
        "useradd --user-group --home-dir /nonexistent --shell /usr/sbin/nologin --no-create-home --system "
        "--comment 'it'\"'\"'s' sys",
        "true",
        "systemctl enable x.service",
    ]


def test_every_base_and_every_key_is_described() -> None:
    text = (ROOT / "docs/images.md").read_text()
    for name in base_names():
        if "-" not in name:
            assert f"`{name}`" in text
    for keys in RECIPE_KEYS.values():
        for key in keys:
            assert f"`{key}`" in text, key
