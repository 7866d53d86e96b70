"""Another installed package adds what this program has kinds of; one that does not fit is named."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from installed_package import Install, install  # noqa: F401 - a fixture
from topology_samples import completed, one, write

from orchestrator.errors import HostError
from orchestrator.log_patterns import LOG_PATTERNS, find_in_console, find_in_journal, log_patterns, waivable
from orchestrator.topology.load import load_topology

PATTERN = """
    import re
    from orchestrator.log_patterns import LogPattern, Severity

    OURS = [
        LogPattern("raid", re.compile("md0: disk failure"), "a disk of the array failed", Severity.FAILING),
        LogPattern("app-panic", re.compile("^panic: "), "the app crashed", Severity.SUSPICIOUS, frozenset({"app"})),
    ]
    SAME = LogPattern("oom-kill", re.compile("x"), "x", Severity.NOTED)
    NONE = "a text"
    """
WAIVER = '[[waivers]]\npattern = "raid"\nreason = "an old disk"\nuntil = 2030-01-01\n'


def test_a_package_adds_log_patterns(install: Install, tmp_path: Path) -> None:  # noqa: F811
    assert one(tmp_path, WAIVER).startswith('log pattern "raid" in waiver 1 is not defined')
    install(PATTERN, log_patterns="ours = {module}:OURS")
    assert log_patterns()[: len(LOG_PATTERNS)] == LOG_PATTERNS
    found = find_in_console("[ 3.1] md0: disk failure on vdb")
    assert found is not None
    assert (found.name, found.explanation) == ("raid", "a disk of the array failed")
    assert (found := find_in_journal("app", "panic: nil")) is not None
    assert found.name == "app-panic"
    assert waivable()[-2:] == ("raid", "app-panic")
    waiver = load_topology(write(tmp_path, completed(WAIVER))).waivers[0]
    assert (waiver.pattern, waiver.until) == ("raid", date(2030, 1, 1))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("same = {module}:SAME", "there is a log pattern oom-kill already"),
        ("none = {module}:NONE", "'a' is no LogPattern"),
        ("gone = {module}:GONE", "has no attribute 'GONE'"),
        ("gone = {module}_gone:OURS", "No module named"),
    ],
)
def test_a_package_that_does_not_fit_is_named(install: Install, value: str, why: str) -> None:  # noqa: F811
    name = install(PATTERN, log_patterns=value).replace("_", "-")
    with pytest.raises(HostError) as caught:
        log_patterns()
    assert caught.value.what == f"{name} 1.5 cannot add {value.split()[0]} to this program"
    assert why in caught.value.why
    assert caught.value.hint.startswith(f"uninstall {name}")
