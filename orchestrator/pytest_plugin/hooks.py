"""Hooks around tests: which machines they get, in which state and order, and what stops them."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack, nullcontext

import pytest

from orchestrator.pytest_plugin.holder import Holder
from orchestrator.pytest_plugin.markers import VARIANT, faults_of, machines_of, problems, uses_environment, wanted
from orchestrator.pytest_plugin.opening import HEALTHY
from orchestrator.pytest_plugin.resets import in_groups
from orchestrator.pytest_plugin.told import on_terminal, text_of

MACHINE = "orchestrator_machine"


class Hooks:
    """Hooks around tests."""

    def __init__(self, holder: Holder) -> None:
        self._holder = holder

    # ------------------------------------------------------------------ before the tests

    def pytest_report_header(self) -> str | None:
        """Say which topology, and when its machines are reset."""
        sketch, settings = self._holder.sketch, self._holder.settings
        if sketch is None:
            return None
        what = "attached" if settings.attach is not None else str(settings.file)
        return f"orchestrator: {sketch.name} ({', '.join(sketch.machines)}; {what}), reset: {settings.reset}"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each machine of the marker; the variant of the marker."""
        if VARIANT not in metafunc.fixturenames:
            return
        variant = wanted(metafunc.definition).variant
        if variant is not None:
            metafunc.parametrize(VARIANT, [variant], indirect=True, scope="session")
        if MACHINE in metafunc.fixturenames:
            known = self._holder.sketch.machines if self._holder.sketch is not None else ()
            metafunc.parametrize(MACHINE, machines_of(metafunc.definition, known), indirect=True)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse wrong markers; put tests of the same variant and snapshot together.

        Raises:
            pytest.UsageError: what is wrong, all of it.
        """
        users = [item for item in items if uses_environment(item)]
        found = {f"{item.nodeid}: {one}": None for item in items for one in problems(item, self._holder.sketch)}
        if users and self._holder.sketch is None:
            found[f"{users[0].nodeid} uses an environment, and there is no topology file: --orch-file FILE"] = None
        if not found and users:
            found |= dict.fromkeys(self._wrong_topologies(users))
        if found and self._holder.worker is not None:
            self._holder.refused, items[:] = "\n".join(found), []  # the controller of xdist raises it
            return
        if found:
            raise pytest.UsageError("\n".join(found))
        if any(wanted(item).keep for item in users):
            self._holder.keep = "always"
        variant, snapshot = self._first
        # Another variant costs a start, another snapshot a reset: variants are what the whole is divided by.
        ordered = in_groups(items, lambda item: self._group(item)[1], snapshot)
        items[:] = in_groups(ordered, lambda item: self._group(item)[0], variant)

    def _wrong_topologies(self, users: list[pytest.Item]) -> list[str]:
        """What is wrong with the topology, in each variant that a test wants."""
        from orchestrator.errors import TopologyError
        from orchestrator.topology.load import load_topology

        settings = self._holder.settings
        if settings.attach is not None or settings.file is None:
            return []
        wrong = []
        for variant in dict.fromkeys(wanted(item).variant or settings.variant for item in users):
            try:
                load_topology(settings.file, variant=variant)
            except TopologyError as error:
                wrong.append(text_of(error))
        return wrong

    @property
    def _first(self) -> tuple[str, str]:
        variant = self._holder.sketch.variant if self._holder.sketch is not None else ""
        return variant, self._holder.settings.start_from or HEALTHY

    def _group(self, item: pytest.Item) -> tuple[str, str] | tuple[None, None]:
        """The variant and the snapshot of a test; one that uses no environment may be anywhere."""
        if not uses_environment(item):
            return None, None
        asked, (variant, snapshot) = wanted(item), self._first
        return asked.variant or variant, asked.snapshot or snapshot

    # ------------------------------------------------------------------ a test

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """The test has the environment until all is over, its teardown included."""
        with self._holder.test(item) if uses_environment(item) else nullcontext():
            return (yield)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """After the skip markers, before all fixtures: the state that they are to find."""
        if item.get_closest_marker("needs_kvm") is not None:
            factor = self._holder.factor()
            if factor != 1:
                pytest.skip(f"needs KVM: this host emulates machines (time factor {factor:g})")
        if uses_environment(item):
            self._holder.prepare(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """The faults of its marker are on; a test that passed fails by what the machines logged."""
        with ExitStack() as stack:
            for name in faults_of(item):
                stack.enter_context(self._holder.fault(name))
            result = yield
        self._require_no_signs(item)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """The same of its teardown, and what was logged late."""
        result = yield
        self._require_no_signs(item)
        return result

    def _require_no_signs(self, item: pytest.Item) -> None:
        current = self._holder.current
        if current is None or current.item is not item or current.failed:
            return
        signs = current.new_signs()
        if signs:
            lines = [f"machine {one.subject}: {one.explanation} ({one.pattern}): {one.line}" for one in signs]
            hint = f'  if the test is to cause it: @pytest.mark.accepts_sign("{signs[0].pattern}")'
            pytest.fail("\n".join([*lines, hint]), pytrace=False)

    # ------------------------------------------------------------------ a failed test

    def pytest_exception_interact(self, node: object, report: object) -> None:
        """`--orch-sit`: the machines stay as the failed test left them until somebody presses Enter."""
        environment, current = self._holder.environment, self._holder.current
        if not self._holder.settings.sit or environment is None or current is None or not current.began:
            return
        if current.item is not node or not isinstance(report, pytest.TestReport):
            return
        lines = [f"    orchestrator -n {environment.name} shell {name}" for name in environment.machines]
        with on_terminal(current.item.config):
            sys.stdout.write(
                f"\n{report.longreprtext}\n\n{current.item.nodeid} failed; the machines stay as they are.\n"
                f"Enter them from another terminal:\n" + "\n".join(lines) + "\nGo on with Enter: "
            )
            sys.stdout.flush()
            assert sys.__stdin__ is not None
            sys.__stdin__.readline()
