"""What the documentation says is there: links, commands and options, decisions, messages."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.arguments import build_parser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "standin" / "README.md"]
)
DECISIONS = ROOT / "docs" / "decisions"
COMMAND = re.compile(r"^(?:python -m )?orchestrator (?!\.)(.*)$")


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(text: str) -> set[str]:
    """The anchors a forge makes of the headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(plain.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{ids(page)}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{ids(page)}: {target}"


def commands_shown() -> Iterator[tuple[str, str]]:
    """Every ``orchestrator …`` in code of the pages written by hand, with the page's name."""
    for page in PAGES:
        if page.name == "commands.md":
            continue  # made from the parser itself
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
        lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
        for code in [*lines, *inline]:
            shown = COMMAND.match(code)
            if shown:
                yield ids(page), shown[1]


def parse(words: list[str]) -> argparse.Namespace:
    return build_parser().parse_args(words)


@pytest.mark.parametrize(("page", "shown"), sorted(set(commands_shown())))
def test_commands_exist_with_these_options(page: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(shown)
    if words[-1].startswith("--") and words[-1] in ("--grep", "--images"):
        words.append("auto")  # the option is meant, not a value of it
    try:
        parse(words)
    except SystemExit as stop:
        complaint = capsys.readouterr().err
        # A command that is only named may lack its operands; nothing else may be wrong with it.
        named_only = len(words) == 1 and "the following arguments are required" in complaint
        assert stop.code == 0 or named_only, f"{page}: orchestrator {shown}\n{complaint}"


def test_the_pages_show_commands_at_all() -> None:
    shown = {shlex.split(words)[0] for _, words in commands_shown()}
    assert {"up", "run", "down", "status", "logs", "exec", "doctor"} <= shown


def records() -> list[Path]:
    return sorted(DECISIONS.glob("[0-9]*.md"))


def test_every_decision_is_listed_with_its_title() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    for record in records():
        first = record.read_text(encoding="utf-8").splitlines()[0]
        number, title = record.name[:4], first.partition(": ")[2]
        assert first.startswith(f"# {number}: ")
        assert f"| [{number}]({record.name}) | {title} |" in index
    assert [record.name[:4] for record in records()] == [f"{n:04}" for n in range(1, len(records()) + 1)]


@pytest.mark.parametrize("record", records(), ids=ids)
def test_a_decision_says_context_decision_consequence(record: Path) -> None:
    found = re.findall(r"^\*\*(Context|Decision|Consequence)\.\*\*", record.read_text(encoding="utf-8"), re.MULTILINE)
    assert found == ["Context", "Decision", "Consequence"]


def test_each_error_of_the_specification_has_its_record() -> None:
    index = (DECISIONS / "README.md").read_text(encoding="utf-8").partition("## Errors")[2]
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", index, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 24))
    for number, cell in rows:
        names = re.findall(r"\(([^)]+\.md)\)", cell)
        assert names or "no error" in cell
        texts = [(DECISIONS / name).read_text(encoding="utf-8") for name in names]
        assert not names or any(re.search(rf"\berrors?\b[^*]*\b{number}\b", text) for text in texts), number


def test_quoted_messages_are_said_by_the_program() -> None:
    """The first column of the tables quotes messages; each must be in the code, so that a search finds it."""
    sources = "\n".join(
        re.sub(r"\{[^{}\"]*\}", "…", path.read_text(encoding="utf-8"))
        for pattern in ("orchestrator/**/*.py", "scripts/lib/*.sh", "debian-images/*.py", "stack/*.sh")
        for path in sorted(ROOT.glob(pattern))
    )
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = [
        message for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for message in re.findall(r"`([^`]+)`", row)
    ]
    assert len(quoted) > 70
    for message in quoted:
        for piece in message.split("…"):
            words = piece.strip(" ,:()")
            assert words in sources, f"{message!r}: {words!r} is said nowhere"
