"""A month of nights: a flaky test, a regression in the application, one with a new image, broken and missing nights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from nightly_scene import NightlyScene, Step

pytestmark = pytest.mark.slow  # thirty nights
TESTS = [f"page {number}" for number in range(8)]
FLAKY_NIGHTS = (3, 9, 11, 17, 23, 26)
BROKEN_NIGHT = 6  # no machine came up
APP_BREAKS, APP_FIXED = 13, 15  # "page 1"
IMAGE_BREAKS, IMAGE_FIXED = 20, 22  # "page 2"
SETTINGS = '[nightly]\nbuild = false\nreruns = 3\n[nightly.notify]\ncommand = ["sh", "-c", "cat > told.txt"]\n'


def revisions(night: int) -> Mapping[str, str]:
    app = "a2" if APP_BREAKS <= night < APP_FIXED else "a3" if night >= APP_FIXED else "a1"
    image = "i2" if IMAGE_BREAKS <= night < IMAGE_FIXED else "i3" if night >= IMAGE_FIXED else "i1"
    return {"layer app": app, "image": image}


def steps(night: int) -> Sequence[Step]:
    """The runs of a night: the first, and the repetitions of what fails in it."""
    if night == BROKEN_NIGHT:
        return [None]
    broken = [name for name, begin, end in BREAKS if begin <= night < end]
    flaky = ["page 0"] if night in FLAKY_NIGHTS else []
    failing = dict.fromkeys((*broken, *flaky), "f")
    same: dict[str, Any] = {"revisions": revisions(night)}
    first = {**same, "tests": {**dict.fromkeys(TESTS, "p"), **failing}}
    again = {**same, "tests": {**dict.fromkeys(broken, "f"), **dict.fromkeys(flaky, "p")}}
    return [first, *([again] * 3 if failing else [])]


BREAKS = (("page 1", APP_BREAKS, APP_FIXED), ("page 2", IMAGE_BREAKS, IMAGE_FIXED))


def test_each_message_is_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = NightlyScene(tmp_path, monkeypatch, capsys, SETTINGS)
    target = tmp_path / "told.txt"
    messages: dict[int, str] = {}
    outcomes: list[str] = []
    for night in range(30):
        scene.prepare({"run": steps(night)})
        scene.command("nightly")
        outcomes.append(scene.latest["outcome"])
        if target.exists():
            messages[night] = target.read_text()
            target.unlink()
    said = {night: [line for line in text.splitlines() if line.startswith("- ")] for night, text in messages.items()}
    assert said[BROKEN_NIGHT] == ["- was: passed; is: could not run"]
    assert said[BROKEN_NIGHT + 1] == ["- was: could not run; is: passed"]
    assert "- broken now: page 1" in said[APP_BREAKS]
    assert "- fixed: page 1" in said[APP_FIXED]
    assert "- broken now: page 2" in said[IMAGE_BREAKS]
    assert "- fixed: page 2" in said[IMAGE_FIXED]
    assert sum("- flaky: page 0" in lines for lines in said.values()) == 1
    assert set(said) <= {
        *FLAKY_NIGHTS,
        BROKEN_NIGHT,
        BROKEN_NIGHT + 1,
        APP_BREAKS,
        APP_FIXED,
        IMAGE_BREAKS,
        IMAGE_FIXED,
    }
    assert [outcomes[night] for night in FLAKY_NIGHTS] == ["flaky"] * len(FLAKY_NIGHTS)
    assert outcomes.count("failed") == 4
    _verdicts(scene)
    _rebuilt(scene, tmp_path)


def _verdicts(scene: NightlyScene) -> None:
    _, text = scene.command("history", "test", "page", "--json")
    found = {one["title"]: one for one in json.loads(text)}
    assert {title: one["verdict"] for title, one in found.items()} == {
        title: "flaky" if title == "page 0" else "ok" for title in TESTS
    } | {"page 2": found["page 2"]["verdict"]}
    assert found["page 2"]["verdict"] in ("fixed", "ok")
    assert found["page 0"]["rate"]["low"] > 0.02
    assert found["page 1"]["failures"] == 0, "a regression is none of the test's own failures"


def _rebuilt(scene: NightlyScene, folder: Path) -> None:
    """The history of the whole month comes from the folders alone."""
    before = scene.command("history", "export")[1]
    for path in (folder / "state").glob("history.db*"):
        path.unlink()
    assert json.loads(scene.command("history", "export")[1]) == json.loads(before)
    assert scene.command("history", "site", str(folder / "site"))[0] == 0
    assert len(list((folder / "site/tests").iterdir())) == len(TESTS)
