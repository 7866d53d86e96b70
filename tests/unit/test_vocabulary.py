"""Words that this project used for things that have a name in its field: they do not come back.

Names are looked at apart from prose: a check may still *hold* and an answer *come*, but nothing is called so.
"""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("orchestrator", "scripts", "debian-images", "standin", "tests")

# What nothing in the code is called any more → what it is called.
NAMES = {
    "Gatekeeper": "ServiceSupervisor",
    "gatekeeper": "supervisor",
    "_open_gate": "egress_filter",
    "Wards": "ReaperClient",
    "wards": "reaper_client",
    "losses": "failures",
    "came": "completes_before",
    "lay_out": "stage_files",
    "let_go": "detach",
    "abandon": "discard_machines",
    "abandoned": "discarded",
    "continue_from": "seed_logs",
    "go_on": "cont",
    "lent": "passed_fd",
    "stands_still": "paused",
    "_stood": "paused",
    "Places": "EnvironmentPaths",
    "RamPlace": "RamBacking",
    "place_of_memory": "choose_ram_backing",
    "strays": "orphans",
    "inhabited": "reachable",
    "Sign": "LogPattern",
    "Weight": "Severity",
    "Acceptance": "Waiver",
    "Answer": "CheckResult",
    "Chosen": "TestSelection",
    "Opened": "Environment",
    "insist": "require_restore",
    "Stored": "Snapshot",
    "Saving": "SnapshotWriter",
    "superfluous": "prunable",
    "the_store": "default_store",
    "any_text": "string",
    "together": "run_all",
    "guarded": "run_with_watchdogs",
    "whatever_happens": "finish_despite_cancel",
    "_wait_active": "_require_active",
    "grade": "isolation",
    "worlds": "fresh states",
    "news": "wait_for_entry or wakeup",
    "witness": "add_machine_status",
    "forget": "mark_pending",
    "Link": "Interface",
    "Bad": "InvalidValue",
    "settle": "open_ssh",
    "Part": "SuiteInvocation",
    "_tell": "_report",
}
# (file, name) that stays, and why.
KEPT = {
    ("standin/mocks/alicia_mocks/chat.py", "Answer"): "the mock's answer in a chat, not a check's",
    ("standin/mocks/alicia_mocks/llm.py", "Answer"): "the same",
}

# What is written nowhere, in code, messages or documents → the plain word.
PROSE = {
    r"gatekeepers?": "service supervisor",
    r"strays?": "orphan",
    r"wards?": "a process that the reaper ends",
    r"anew": "again",
    r"mend(s|ed|ing)?": "fix",
    r"stands? still|stood still": "is paused",
    r"superfluous": "not needed, can be removed",
}
# Documents that tell what was, in the words of their time, and texts of others.
HISTORY = ("CHANGELOG.md", "docs/decisions/", "requirements", "tests/golden/")
LISTS = ("tests/unit/test_vocabulary.py", "tests/unit/test_docs_reader.py")  # they name the words
IN_IMAGES = (
    "orchestrator/images/bases/browser/",
)  # part of an image: a word in a comment is not worth building it again


@cache
def files() -> tuple[Path, ...]:
    """All files of the project, as git knows them, or as they are where it is not a checkout."""
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    found = [ROOT / line for line in done.stdout.splitlines()] if done.returncode == 0 else list(ROOT.rglob("*"))
    return tuple(path for path in found if path.is_file() and not re.search(r"/\.(venv|git|[a-z]+_cache)/", str(path)))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """Every name of a Python file, with its line; strings and comments are no names."""
    source = io.StringIO(path.read_text(encoding="utf-8"))
    for token in tokenize.generate_tokens(source.readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def test_nothing_has_an_old_name() -> None:
    found = []
    for path in files():
        where = relative(path)
        if path.suffix != ".py" or not where.startswith(CODE):
            continue
        for line, name in names_in(path):
            if name in NAMES and (where, name) not in KEPT:
                found.append(f"{where}:{line}: {name} → {NAMES[name]}")
    assert found == []


def test_no_file_has_an_old_name() -> None:
    assert [relative(path) for path in files() if path.suffix == ".py" and path.stem in NAMES] == []


@pytest.mark.parametrize("word", PROSE)
def test_no_text_has_an_old_word(word: str) -> None:
    pattern = re.compile(rf"\b(?:{word})\b", re.IGNORECASE)
    found = []
    for path in files():
        where = relative(path)
        if where.startswith((*HISTORY, *LISTS, *IN_IMAGES)):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{where}:{text.count(chr(10), 0, hit.start()) + 1}: {hit.group()}" for hit in pattern.finditer(text)]
    assert found == [], f"write: {PROSE[word]}"


def test_every_exception_is_one() -> None:
    for where, name in KEPT:
        assert name in {found for _, found in names_in(ROOT / where)}, (where, name)
