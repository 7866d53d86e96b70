"""Tests do not depend on how busy the machine is: no tight bounds on real time, no sleep instead of an event."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent.parent
SIMULATED = {"simulated_time", "supervisor_scene"}  # who imports them plays on a simulated clock
CLOCKS = {"monotonic", "perf_counter", "time"}
DURATIONS = {"elapsed", "seconds"}
TIGHT = 5.0  # seconds
FOR_EVER = 30.0  # a sleep that long stands for what never ends, and is cancelled or ended

BOUNDS = {
    "vm/test_55_snapshots.py::test_the_clock_is_the_hosts": "how far two clocks are apart, no duration",
}
NOTHING = "nothing must happen meanwhile, and nothing tells that it did not"
SLEEPS = {
    "unit/test_cli_signals.py::test_a_second_one_ends_it_at_once": "two signals are two only some time apart",
    "unit/test_cli_signals.py::test_nohup_is_respected": NOTHING,
    "unit/test_guest_ssh_connection.py::test_a_machine_that_stands_still_is_left_and_named": NOTHING,
    "unit/test_process_lifetimes.py::test_watch_end_and_the_exit_code": NOTHING,
    "vm/test_03_signals.py::booting": "in the middle of a boot is at no event",
    "vm/test_03_signals.py::test_ctrl_c_twice_ends_at_once": NOTHING,
}


def simulated(tree: ast.Module) -> bool:
    imports = (node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return any(module in SIMULATED for module in imports)


def is_clock(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in CLOCKS


def tells_time(node: ast.AST, clocks: set[str]) -> bool:
    return any(
        is_clock(part)
        or (isinstance(part, ast.Name) and part.id in clocks)
        or (isinstance(part, ast.Attribute) and part.attr in DURATIONS)
        for part in ast.walk(node)
    )


def number(node: ast.AST) -> float:
    """The largest number in an expression; one that holds a name grows with what that tells.

    A part of another duration is as tight as can be: both depend on what else the machine does.
    """
    parts = list(ast.walk(node))
    if any(isinstance(part, ast.Div) or (isinstance(part, ast.Attribute) and part.attr in DURATIONS) for part in parts):
        return 0.0
    if any(isinstance(part, ast.Name | ast.Attribute) for part in parts):
        return TIGHT
    return max((float(part.value) for part in parts if isinstance(part, ast.Constant)), default=TIGHT)


def tight_bounds(function: ast.AST) -> Iterator[int]:
    """The lines of ``assert DURATION < SECONDS``."""
    clocks = {
        name.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and any(is_clock(part) for part in ast.walk(node.value))
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    for node in ast.walk(function):
        if not isinstance(node, ast.Assert):
            continue
        for compare in (part for part in ast.walk(node.test) if isinstance(part, ast.Compare)):
            sides = [compare.left, *compare.comparators]
            for index, operator in enumerate(compare.ops):
                low, high = sides[index], sides[index + 1]
                if isinstance(operator, ast.Lt | ast.LtE) and tells_time(low, clocks) and number(high) < TIGHT:
                    yield node.lineno


def sleeps(function: ast.AST, *, polling: bool = False) -> Iterator[int]:
    """The lines of sleeps of a fixed time; in a loop one is the pause between two looks."""
    for node in ast.iter_child_nodes(function):
        inside = polling or isinstance(node, ast.While | ast.For | ast.AsyncFor)
        if isinstance(node, ast.Call) and not polling and getattr(node.func, "attr", "") == "sleep":
            value = node.args[0]
            if isinstance(value, ast.Constant) and 0 < value.value < FOR_EVER:
                yield node.lineno
        yield from sleeps(node, polling=inside and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def real_time() -> list[tuple[Path, ast.Module]]:
    """The files whose tests run with the real clock."""
    trees = [(file, ast.parse(file.read_text(encoding="utf-8"))) for file in sorted(TESTS.rglob("*.py"))]
    return [(file, tree) for file, tree in trees if not simulated(tree)]


def places(kind: str) -> dict[str, int]:
    """``file::function`` → line, of everything in tests/ that breaks the rule."""
    found = {}
    for file, tree in real_time():
        for node in tree.body:
            functions = node.body if isinstance(node, ast.ClassDef) else [node]
            for function in functions:
                lines = tight_bounds(function) if kind == "bound" else sleeps(function)
                for line in lines:
                    found[f"{file.relative_to(TESTS)}::{getattr(function, 'name', 'module')}"] = line
    return found


def test_no_tight_bound_on_real_time() -> None:
    new = {f"{where}:{line}" for where, line in places("bound").items() if where not in BOUNDS}
    assert not new, f"give them at least {TIGHT:.0f} s, or play them in simulated_time: {sorted(new)}"
    assert not BOUNDS.keys() - places("bound"), "an exception that is none any more"


def test_no_sleep_where_an_event_can_be_waited_for() -> None:
    new = {f"{where}:{line}" for where, line in places("sleep").items() if where not in SLEEPS}
    assert not new, f"wait for the event, or play it in simulated_time: {sorted(new)}"
    assert not SLEEPS.keys() - places("sleep"), "an exception that is none any more"


def test_the_rules_see_what_they_are_for() -> None:
    code = """
def bad():
    began = time.monotonic()
    time.sleep(0.2)
    assert time.monotonic() - began < 0.5
    assert 0.1 < limit.elapsed <= 2

def good():
    while not path.exists():
        time.sleep(0.01)
    time.sleep(60)
    assert limit.elapsed < 10
    assert limit.elapsed < factor * 5
"""
    bad, good = ast.parse(code).body
    assert list(tight_bounds(bad)) == [5, 6]
    assert list(sleeps(bad)) == [4]
    assert not list(tight_bounds(good))
    assert not list(sleeps(good))
