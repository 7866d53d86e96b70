"""What is kept and shown of tests: evidence of failures, lines of the summary."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.pytest_plugin.current import Current
from orchestrator.pytest_plugin.holder import Holder
from orchestrator.pytest_plugin.workers import remove_left

NAME_LIMIT = 100  # characters of the name of a test's folder
TYPES = {".png": "image/png", ".txt": "text/plain", ".jsonl": "application/jsonl"}
PROPERTY = "orchestrator"  # of the run folder's part in JUnit
SUMMARY, REFUSED = "orchestrator_summary", "orchestrator_refused"  # of xdist's workeroutput


class Results:
    """Hooks that look at what pytest reports."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder
        self._folders: dict[str, str] = {}
        self._of_workers: list[str] = []
        self._killed: list[str] = []  # names of the environments of workers that were

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep the evidence of a failure; tell the environment how the test went."""
        report = yield
        current = self._holder.current
        if current is None or current.item is not item:
            return report
        current.saw(report)
        if report.failed and report.when != "teardown" and current.began:
            self._keep_evidence(current, report)
        if report.when == "teardown":
            self._holder.attempt_over()
        return report

    def _keep_evidence(self, current: Current, report: pytest.TestReport) -> None:
        """Whatever happens here, the report stays the test's."""
        environment = self._holder.environment
        if environment is None:
            return
        folder = f"tests/{self._folder(current)}"
        try:
            files = environment.evidence(folder, current.moment)
            root = environment.artifacts
            self._attach(current, report, root, files)
        except Exception as error:  # noqa: BLE001 - the test's own failure is what matters
            report.sections.append(("orchestrator", f"the evidence of this failure is not complete: {error}"))

    def _attach(self, current: Current, report: pytest.TestReport, root: Path, files: list[Path]) -> None:
        from orchestrator.events.suite import Attachment

        for path in files:
            kind = TYPES.get(path.suffix, "application/octet-stream")
            current.attachments.append(Attachment(path.name, str(path.relative_to(root)), kind))
            new = (f"{PROPERTY}-{path.name}", str(path))
            current.item.user_properties.append(new)
            report.user_properties.append(new)
        shown = "\n".join(str(path) for path in files)
        report.sections.append(("orchestrator", f"evidence of this failure:\n{shown}"))
        html = current.item.config.pluginmanager.getplugin("html")
        if html is not None and hasattr(html, "extras"):
            known: list[Any] = getattr(report, "extras", [])
            report.__dict__["extras"] = [*known, *map(html_extra(html.extras), files)]

    def _folder(self, current: Current) -> str:
        """The name of the test's folder; no two tests have the same."""
        name = folder_name(current.item.nodeid)
        if self._folders.setdefault(name, current.item.nodeid) != current.item.nodeid:
            name = f"{name}-{hashlib.sha256(current.item.nodeid.encode()).hexdigest()[:8]}"
        return f"{name}-{current.attempt + 1}" if current.attempt else name

    # ------------------------------------------------------------------ the end

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Close the environment: after the fixtures that an interruption left, before a worker says that it is done."""
        self._holder.finish()
        for name in self._killed:
            self._of_workers.append(remove_left(name))
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[SUMMARY], output[REFUSED] = self._holder.summary, self._holder.refused

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """A worker of xdist is done: what it has to say.

        Raises:
            pytest.UsageError: markers are wrong; all workers found the same.
        """
        sketch = self._holder.sketch
        if error and sketch is not None:
            self._killed.append(f"{self._holder.settings.name or sketch.name}-{node.gateway.id}")
        output = getattr(node, "workeroutput", {})
        if output.get(REFUSED):
            raise pytest.UsageError(output[REFUSED])
        self._of_workers += output.get(SUMMARY, [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the reports are, and which machines stay."""
        for line in filter(None, (*self._holder.summary, *self._of_workers)):
            terminalreporter.write_line(f"orchestrator: {line}")


def folder_name(nodeid: str) -> str:
    """A test's id as a file name.

    >>> folder_name("tests/test_a.py::TestB::test_c[x/y z]")
    'tests-test_a.py-TestB-test_c-x-y-z'
    """
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", nodeid).strip("-.")
    if len(plain) <= NAME_LIMIT:
        return plain or "test"
    return f"{plain[:NAME_LIMIT]}-{hashlib.sha256(nodeid.encode()).hexdigest()[:8]}"


def html_extra(extras: Any) -> Any:
    """What makes an entry of pytest-html of a file."""

    def make(path: Path) -> Any:
        if path.suffix == ".png":
            return extras.png(base64.b64encode(path.read_bytes()).decode("ascii"), name=path.name)
        return extras.url(path.as_uri(), name=path.name)

    return make
