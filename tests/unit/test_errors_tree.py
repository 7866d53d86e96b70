"""Errors: exit codes are a contract, and every error is data."""

from __future__ import annotations

import json

import pytest

from orchestrator import errors
from orchestrator.errors import OrchestratorError

CODES = {
    "OrchestratorError": 3,
    "UsageError": 2,
    "TopologyError": 2,
    "HostError": 3,
    "MemoryShort": 3,
    "ImageError": 3,
    "HistoryError": 3,
    "RecipeError": 2,
    "MachineError": 3,
    "SnapshotError": 3,
    "SnapshotDamaged": 3,
    "ServiceError": 3,
    "GuestCommandError": 3,
    "FaultError": 3,
    "SuiteFailed": 1,
    "IncompleteCopy": 23,
    "SignsFound": 1,
    "NothingRan": 4,
    "LockedError": 5,
    "TimeLimit": 124,
    "UnforeseenError": 3,
}


def test_every_class_has_the_exit_code_of_the_contract() -> None:
    found = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, OrchestratorError)
    }
    assert found == CODES


@pytest.mark.parametrize("name", CODES)
def test_the_tree_in_the_docstring_names_each(name: str) -> None:
    assert name in (errors.__doc__ or "")


def test_an_error_as_data() -> None:
    error = errors.ServiceError("web failed", why="exit 1", where=["/log"], hint="look", evidence=["a", "b"])
    assert str(error) == error.what == "web failed"
    assert json.loads(json.dumps(error.as_dict())) == {
        "type": "ServiceError",
        "what": "web failed",
        "why": "exit 1",
        "where": ["/log"],
        "hint": "look",
        "evidence": ["a", "b"],
        "exit_code": 3,
    }
    assert errors.HostError("x").as_dict()["where"] == []
