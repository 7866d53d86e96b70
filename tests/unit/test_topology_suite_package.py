"""What is seen of a folder with a suite before anything is started."""

from __future__ import annotations

import json
from pathlib import Path

from cli_process import Cli
from topology_samples import alicia, problems

from orchestrator.topology.suite_package import look_at


def fill(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def packages(**wanted: str) -> str:
    return json.dumps({"dependencies": {}, "devDependencies": wanted})


def test_an_empty_folder_is_no_suite(tmp_path: Path) -> None:
    file = alicia(tmp_path)
    (tmp_path / "nothing").mkdir()
    assert problems(file, suite=tmp_path / "nothing") == ["--suite: nothing is empty"]
    (tmp_path / "suite/a.spec.ts").unlink()
    assert problems(file)[0].endswith('"path" in the suite: suite is empty')


def test_specs_configuration_and_versions_are_found(tmp_path: Path) -> None:
    files = {
        "playwright.config.mts": "",
        "tests/a.spec.ts": "",
        "tests/deep/b.test.mjs": "",
        "tests/[id].spec.tsx": "",
        "tests/helper.ts": "",
        "node_modules/x/c.spec.js": "",
        "node_modules/@playwright/test/package.json": '{"version": "1.57.0"}',
        "node_modules/left-pad/package.json": "{}",
        "package.json": packages(**{"@playwright/test": "^1.50", "left-pad": "1", "faker": "2", "@types/node": "*"}),
    }
    found = look_at(fill(tmp_path, **files))
    assert (found.configuration, found.specs, found.runner, found.wanted) == (
        "playwright.config.mts",
        3,
        "1.57.0",
        "^1.50",
    )
    assert found.missing == ("faker",)
    assert found.warnings == (f"suite {tmp_path} needs faker, which node_modules lacks; run npm ci there",)
    assert found.describe() == f"suite {tmp_path}: playwright.config.mts, 3 spec files, brings Playwright 1.57.0"


def test_a_suite_of_one_file(tmp_path: Path) -> None:
    found = look_at(fill(tmp_path, **{"a.spec.ts": "", "package.json": packages(**{"@playwright/test": "~1.40"})}))
    assert found.describe() == (
        f"suite {tmp_path}: no Playwright configuration, 1 spec file, runs with the image's Playwright "
        "(package.json asks for ~1.40)"
    )
    assert found.warnings == ()


def test_a_suite_that_scales_its_limits_itself_is_known(tmp_path: Path) -> None:
    fill(tmp_path, **{"a.spec.ts": "", "README.md": "set E2E_TIME_FACTOR"})
    assert not look_at(tmp_path).heeds_factor
    fill(tmp_path, **{"support/limits.ts": "export const slow = process.env.E2E_TIME_FACTOR;"})
    assert look_at(tmp_path).heeds_factor


def test_what_cannot_be_read_holds_nothing(tmp_path: Path) -> None:
    found = look_at(fill(tmp_path, **{"package.json": "[1]", "readme": ""}))
    assert (found.specs, found.runner, found.missing) == (0, "", ())
    assert "has no file like *.spec.ts" in found.warnings[0]
    assert look_at(tmp_path / "gone").specs == 0


def test_validate_tells_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    file = alicia(tmp_path / "shop")
    fill(tmp_path / "other", **{"b.spec.ts": "", "package.json": packages(faker="1")})
    cli = Cli(tmp_path)
    done = cli("--file", str(file), "validate", "--suite", str(tmp_path / "other"))
    assert done.returncode == 0
    assert f"suite {tmp_path}/other: no Playwright configuration, 1 spec file" in done.stderr
    assert "needs faker, which node_modules lacks" in done.stderr
    data = json.loads(cli("--file", str(file), "validate", "--json", "--suite", str(tmp_path / "other")).stdout)
    assert {one["suite"]["spec_files"] for one in data["variants"]} == {1}
