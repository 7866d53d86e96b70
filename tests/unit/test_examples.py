"""The examples as files: complete, valid, listed. `scripts/examples` runs them on machines."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.images.recipe_load import load_recipe
from orchestrator.topology.load import load_topology

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/orchestrator.toml"))
LONGEST_README = 25  # lines


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.name)
def example(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_it_is_a_valid_topology_of_its_own_name(example: Path) -> None:
    topology = load_topology(example / "orchestrator.toml")
    assert topology.name == example.name
    assert all(service.checks or service.unit for service in topology.services.values())


def test_its_recipes_include_a_base_of_the_package_and_nothing_else_of_this_repository(example: Path) -> None:
    for path in (example / "images").glob("*.toml"):
        assert re.findall(r'^include = \["(.+)"\]$', path.read_text(), re.MULTILINE) == ["orchestrator:base"]
        recipe = load_recipe(path)
        sources = [item.source for item in (*recipe.files.values(), *recipe.folders.values()) if item.source]
        inside = (example, ROOT / "orchestrator" / "images" / "bases")
        assert all(any(source.resolve().is_relative_to(folder) for folder in inside) for source in sources)


def test_its_tests_use_its_machines(example: Path) -> None:
    machines = set(load_topology(example / "orchestrator.toml").machines)
    functions = [
        node
        for path in (example / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len([one for one in functions if one.name.startswith("test_")]) >= 3
    assert machines & {argument.arg for function in functions for argument in function.args.args}


def test_it_has_a_short_readme_and_a_row_in_the_list(example: Path) -> None:
    assert len((example / "README.md").read_text().splitlines()) <= LONGEST_README
    rows = (ROOT / "examples" / "README.md").read_text()
    assert f"| [{example.name}]({example.name}/README.md) |" in rows
    assert f"| {len(load_topology(example / 'orchestrator.toml').machines)} |" in rows


def test_the_script_knows_all_of_them() -> None:
    script = str(ROOT / "scripts" / "examples")
    listed = subprocess.run([script, "--list"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [example.name for example in EXAMPLES]
    unknown = subprocess.run([script, "no-such"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "there is no example no-such" in unknown.stderr
