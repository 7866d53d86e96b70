"""What a changed file means, and which tests follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.dev.changes import ALL, FAILED, Changes, Selection, Sources, classify, selection_for


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    for name in ("app", "suite/tests"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "suite/tests/page.spec.ts").touch()
    (tmp_path / "orchestrator.toml").touch()
    exclude = {"app": (".git", "/tests")}
    return Sources({"app": tmp_path / "app"}, exclude, tmp_path / "suite", tmp_path / "orchestrator.toml")


def test_files_of_a_layer_the_suite_and_the_topology_are_told_apart(sources: Sources, tmp_path: Path) -> None:
    found = classify([tmp_path / "app/lib/main.py"], sources)
    assert (found.layers, found.suite, found.topology, found.text) == ({"app"}, False, False, "app/lib/main.py")
    found = classify([tmp_path / "suite/tests/page.spec.ts"], sources)
    assert (found.layers, found.specs, found.support) == (set(), {"tests/page.spec.ts"}, False)
    assert classify([tmp_path / "orchestrator.toml"], sources).topology


def test_what_is_in_no_layer_is_no_change(sources: Sources, tmp_path: Path) -> None:
    others = ["app/.git/index", "app/tests/test_main.py", "elsewhere/x", "suite/test-results/a/trace.zip"]
    assert not classify([tmp_path / one for one in others], sources)


def test_run_folders_are_no_change_wherever_they_are(sources: Sources, tmp_path: Path) -> None:
    inside = replace(sources, ignored=(tmp_path / "suite/runs",))
    assert not classify([tmp_path / "suite/runs/1/events.jsonl"], inside)
    assert classify([tmp_path / "suite/run.sh"], inside).support


def test_a_spec_file_that_is_gone_and_a_support_file_concern_all_tests(sources: Sources, tmp_path: Path) -> None:
    for name in ("suite/tests/gone.spec.ts", "suite/playwright.config.ts"):
        found = classify([tmp_path / name], sources)
        assert (found.support, found.specs) == (True, set())
        assert selection_for(found, only_failed=False) == ALL


def test_many_files_are_named_by_the_first(sources: Sources, tmp_path: Path) -> None:
    found = classify([tmp_path / f"app/{name}" for name in "dcba"], sources)
    assert found.text == "app/a, app/b and 2 more"


def test_a_file_that_an_editor_wrote_first_and_renamed_is_not_named(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "app/main.py").touch()
    assert classify([tmp_path / "app/main.py", tmp_path / "app/.main.py.new"], sources).text == "app/main.py"


def test_only_the_tests_of_changed_spec_files_run() -> None:
    specs = Changes(specs=frozenset({"a.spec.ts"}))
    assert selection_for(specs, only_failed=True) == Selection("files", frozenset({"a.spec.ts"}))


def test_after_a_change_of_the_application_all_run_or_those_that_failed() -> None:
    changes = Changes(layers=frozenset({"app"}), specs=frozenset({"a.spec.ts"}))
    assert selection_for(changes, only_failed=False) == ALL
    assert selection_for(changes, only_failed=True) == FAILED


def test_two_selections_together_leave_nothing_out() -> None:
    one, two = (Selection("files", frozenset({name})) for name in ("a.spec.ts", "b.spec.ts"))
    assert one | two == Selection("files", frozenset({"a.spec.ts", "b.spec.ts"}))
    assert one | FAILED == ALL
    assert (one | two).text == "a.spec.ts, b.spec.ts"
