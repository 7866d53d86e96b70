"""The scripts as files: what may be executed, what is locked, and that hooks and CI run the same checks."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_lock_files_pin_every_package_with_hashes() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        entries = [entry for entry in text.replace(" \\\n", " ").splitlines() if not entry.startswith("#")]
        assert entries
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    run, dev = ((ROOT / name).read_text() for name in ("requirements.lock", "requirements-dev.lock"))
    pins = {line.split()[0] for line in run.splitlines() if "==" in line}
    assert pins <= {line.split()[0] for line in dev.splitlines() if "==" in line}


def test_scripts_can_be_executed() -> None:
    for script in ("scripts/e2e", "scripts/test", "scripts/lock", ".ci/run"):
        assert os.access(ROOT / script, os.X_OK), script


def parts() -> str:
    """The commands of scripts/test, its own help left out."""
    text = (ROOT / "scripts/test").read_text(encoding="utf-8")
    return "\n".join(line for line in text.splitlines() if line.lstrip().startswith(("part ", "[", '"$bin')))


@pytest.mark.parametrize("tool", ["ruff", "mypy", "lint-imports", "deptry", "pytest", "coverage"])
def test_each_check_is_a_part_of_ci_from_a_locked_package(tool: str) -> None:
    assert f'"$bin/{tool}"' in parts()
    packages = {"lint-imports": "import-linter", "coverage": "pytest-cov"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [line.partition(">")[0] for line in project["optional-dependencies"]["dev"]]
    assert packages.get(tool, tool) in wanted


def test_every_hook_before_a_commit_is_a_check_of_ci() -> None:
    hooks = re.findall(r"^ +entry: (?:\.venv/bin/)?(.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert len(hooks) >= 6
    for hook in hooks:
        words = hook.replace(" --force-exclude", "").split()
        assert re.search(rf'(?:"\$bin/)?{re.escape(words[0])}"? {re.escape(" ".join(words[1:]))}'.rstrip(), parts()), (
            hook
        )


def test_ci_fails_below_the_coverage_that_was_agreed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]
    generated = ["orchestrator/api/*", "orchestrator/sync/*"]  # compared with their source by test_driver_generate
    assert settings["run"] == {"branch": True, "source": ["orchestrator"], "omit": generated}
    assert settings["report"]["fail_under"] >= 85
