"""`orchestrator init`: projects that are valid as they are, and files of the user that stay."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from orchestrator.cli.main import main
from orchestrator.errors import UsageError
from orchestrator.images.recipe_load import load_recipe
from orchestrator.scaffold import templates as module
from orchestrator.scaffold.project import write_project
from orchestrator.scaffold.templates import NewFile, files_of, find_template, project_name, templates
from orchestrator.topology.load import load_topology
from orchestrator.topology.suite_package import look_at

NAMES = list(templates())
CODE_OF_THE_USER = 44  # lines of topology and recipes, comments and empty ones not counted


@pytest.fixture(params=NAMES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "my shop"
    write_project(folder, files_of(find_template(request.param), "my-shop"), force=False)
    return folder


def test_a_new_project_is_a_valid_topology_whose_recipes_can_be_read(project: Path) -> None:
    topology = load_topology(project / "orchestrator.toml")
    assert topology.name == "my-shop"
    assert all(image.sources.keys() == {"debian"} for image in topology.images.values())
    for recipe in (project / "images").glob("*.toml"):
        assert "qemu-guest-agent" in load_recipe(recipe).packages
    if topology.suite:
        assert look_at(topology.suite.path).warnings == ()


def test_editors_find_the_schemas_and_these_accept_the_files(project: Path) -> None:
    for path in (project / "orchestrator.toml", *(project / "images").glob("*.toml")):
        first = path.read_text().splitlines()[0]
        schema = path.parent / first.removeprefix("#:schema ")
        jsonschema.validate(tomllib.loads(path.read_text()), json.loads(schema.read_text()))


def test_a_new_project_has_tests_of_its_machines(project: Path) -> None:
    machines = {name.replace("-", "_") for name in load_topology(project / "orchestrator.toml").machines}
    tests = [
        function
        for path in (project / "tests").glob("test_*.py")
        for function in ast.parse(path.read_text()).body
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
    ]
    assert tests
    for function in tests:
        assert {argument.arg for argument in function.args.args} & machines, function.name


def test_the_python_of_a_template_is_clean(project: Path) -> None:
    found = [str(path) for path in project.rglob("*.py")]
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", *found], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=120", "--check", *found],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_readme_is_short_and_names_what_is_there(project: Path) -> None:
    text = (project / "README.md").read_text()
    assert len(text.splitlines()) <= 25
    for line in text.splitlines():
        if line.startswith("| `"):
            for name in line.split("|")[1].replace("`", "").split(","):
                assert (project / name.strip()).exists(), name


def test_scripts_can_be_executed_and_data_cannot(project: Path) -> None:
    assert os.access(project / "ci.sh", os.X_OK)
    assert not (project / "orchestrator.toml").stat().st_mode & 0o111
    done = subprocess.run(["sh", "-n", str(project / "ci.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    workflow = (project / ".github" / "workflows" / "e2e.yml").read_text()
    assert "99-kvm.rules" in workflow
    assert "${{ hashFiles('images/**') }}\n" in workflow
    assert (project / ".gitlab-ci.yml").exists()
    assert "/runs/" in (project / ".gitignore").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_short(name: str, tmp_path: Path) -> None:
    files = {str(file.path): file.text for file in files_of(find_template(name), "x")}
    written = [text for path, text in files.items() if path == "orchestrator.toml" or path.startswith("images/")]
    lines = [line for text in written for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= CODE_OF_THE_USER


# ------------------------------------------------------------------ what is there stays


def test_all_files_in_the_way_are_named_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "orchestrator.toml").write_text("mine too")
    with pytest.raises(UsageError) as caught:
        write_project(tmp_path, files_of(find_template("web"), "x"), force=False)
    assert list(caught.value.evidence) == [str(tmp_path / "README.md"), str(tmp_path / "orchestrator.toml")]
    assert "--force" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "orchestrator.toml"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_force_overwrites_and_says_what(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    written = write_project(tmp_path, files_of(find_template("web"), "x"), force=True)
    assert written.replaced == (Path("README.md"),)
    assert (tmp_path / "README.md").read_text().startswith("# x")


def test_a_second_time_nothing_changes(tmp_path: Path) -> None:
    files = files_of(find_template("empty"), "x")
    first = write_project(tmp_path, files, force=False)
    again = write_project(tmp_path, files, force=False)
    assert len(first.created) == len(files) == len(again.unchanged)
    assert again.created == again.replaced == ()


def test_what_no_force_overwrites_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").mkdir()
    (tmp_path / "images").write_text("a file")
    with pytest.raises(UsageError) as caught:
        write_project(tmp_path, files_of(find_template("web"), "x"), force=True)
    text = "\n".join(caught.value.evidence)
    assert f"{tmp_path / 'README.md'}: is a folder" in text
    assert f"{tmp_path / 'images'}: is not a folder" in text
    assert not (tmp_path / "orchestrator.toml").exists()


def test_a_link_that_leads_nowhere_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "ci.sh").symlink_to("/nowhere/at/all")
    with pytest.raises(UsageError):
        write_project(tmp_path, [NewFile(Path("ci.sh"), "#!/bin/sh\n")], force=False)


# ------------------------------------------------------------------ the command


def test_the_command_makes_the_folder_and_says_what_is_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "Shop 2"
    assert main(["init", "--template", "browser", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert f"cd '{folder}'" in shown
    assert "orchestrator run" in shown
    assert 'name = "shop-2"' in (folder / "orchestrator.toml").read_text()


def test_the_outcome_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--json", str(tmp_path / "one")]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["name"], data["template"], data["replaced"]) == ("one", "empty", [])
    assert "orchestrator.toml" in data["created"]
    assert any(line.startswith("orchestrator up") for line in data["next"])


def test_the_list_of_templates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES
    assert main(["init", "--list", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == NAMES


def test_an_unknown_template_names_the_near_one_and_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--template", "webb", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert 'did you mean "web"?' in shown
    assert "cluster: three nodes" in shown


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("shop", "shop"),
        ("My Shop", "my-shop"),
        ("2nd", "e2e-2nd"),
        ("", "e2e"),
        ("ä" * 50, "e2e"),
        ("a" * 60, "a" * 24),
    ],
)
def test_the_name_of_a_topology_follows_from_the_folder(folder: str, name: str) -> None:
    assert project_name(folder) == name


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ('{"url": "https://example.org/o-1.whl", "archive_info": {}}', "https://example.org/o-1.whl"),
        ('{"url": "file:///home/me/o-1.whl"}', ""),
        ('{"url": "https://example.org/o;$(x)`y`"}', ""),
        ("", ""),
        ("no json", ""),
    ],
)
def test_continuous_integration_installs_what_was_installed_here(
    url: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        def read_text(self, name: str) -> str:
            assert name == "direct_url.json"
            return url

    monkeypatch.setattr(module, "distribution", lambda name: Found())
    assert module.requirement() == expected
    script = next(file.text for file in files_of(find_template("web"), "x") if file.path == Path("ci.sh"))
    assert (f': "${{ORCHESTRATOR:={expected}}}"' in script) is bool(expected)
    assert ("ORCHESTRATOR:?" in script) is not bool(expected)
