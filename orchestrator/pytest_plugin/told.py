"""What the plugin says to people."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.errors import OrchestratorError


def text_of(error: OrchestratorError) -> str:
    """An error in lines: what, why, evidence, where, what next."""
    lines = [error.what]
    lines += [f"  {line}" for line in error.why.splitlines()]
    lines += [f"  {line}" for line in error.evidence]
    lines += [f"  see {place}" for place in error.where]
    if error.hint:
        lines.append(f"  try: {error.hint}")
    return "\n".join(lines)


def say(config: pytest.Config, text: str) -> None:
    """A line on the terminal now, whatever is captured; a worker of xdist has the terminal as its stderr."""
    if config.getoption("verbose") < 0:
        return
    reporter = config.pluginmanager.getplugin("terminalreporter")
    with on_terminal(config):
        if reporter is not None and not hasattr(config, "workerinput"):
            reporter.ensure_newline()
            reporter.write_line(f"orchestrator: {text}")
        else:
            sys.stderr.write(f"orchestrator: {text}\n")
            sys.stderr.flush()


@contextmanager
def on_terminal(config: pytest.Config) -> Iterator[None]:
    """Standard input and output are those of the process, whatever is captured."""
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
        return
    capture.suspend(in_=True)
    try:
        yield
    finally:
        capture.resume()


def leave_out_own_logs(config: pytest.Config) -> None:
    """Keep what the driver logs out of the reports of tests: debug.log of the run folder has it."""
    plugin = config.pluginmanager.getplugin("logging-plugin")
    for name in ("caplog_handler", "report_handler"):
        handler = getattr(plugin, name, None)
        if handler is not None and _is_of_others not in handler.filters:
            handler.addFilter(_is_of_others)


def _is_of_others(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] not in ("orchestrator", "qemu")
