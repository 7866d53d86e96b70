"""Libraries without their commands: what is hidden while they are imported is there again afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.lean import without

LOADED = """
import sys, orchestrator.guest.ssh, orchestrator.guest.tunnel
print(sorted({"invoke", "click", "rich", "httpx._main"} & set(sys.modules)))
import invoke, httpx
print(invoke.__name__, httpx.Client.__name__)
"""


def test_a_start_loads_no_command_of_a_library_and_a_user_still_can() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\ninvoke Client\n"


def test_what_is_loaded_already_is_not_hidden() -> None:
    with without("json", "no_such_module_anywhere"):
        import json

        assert json.loads("1") == 1
        with pytest.raises(ImportError):
            __import__("no_such_module_anywhere")
    assert "no_such_module_anywhere" not in sys.modules
