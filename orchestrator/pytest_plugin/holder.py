"""The environment of this process: opened at its first use, reset between tests, closed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import OrchestratorError, TopologyError, UsageError
from orchestrator.pytest_plugin.current import Current
from orchestrator.pytest_plugin.markers import Wanted, wanted
from orchestrator.pytest_plugin.opening import HEALTHY, Opening
from orchestrator.pytest_plugin.resets import Condition, reset_reason
from orchestrator.pytest_plugin.told import text_of

if TYPE_CHECKING:
    from orchestrator.sync import Environment

FORKED = (
    "an environment cannot be used in a forked process\n"
    "  its connections and its watch live in the process of pytest\n"
    "  try: leave out --forked, or start the process with spawn and open the environment in it"
)


class Holder(Opening):
    """Knows the environment, the state of its machines, and the test that has it.

    Attributes:
        keep: whether the machines stay at the end, as `Environment.load` has it.
        summary: lines for the end of the run.
        refused: of a worker: what is wrong with the markers of its tests.
    """

    # ------------------------------------------------------------------ around a test

    @contextmanager
    def test(self, item: pytest.Item) -> Iterator[None]:
        """A test that uses the environment, from before its fixtures to after them."""
        with self._busy:
            self.current = Current(item, wanted(item))
            try:
                yield
            finally:
                self.attempt_over("interrupted")
                self.current = None
                self._idle_since = monotonic()

    def attempt_over(self, status: str = "") -> None:
        """The test gives the machines back, in whatever state; it may be run again."""
        current = self.current
        if current is None or not current.began:
            return
        current.end(status)
        self.machines.last = current.place
        if current.failed or status:
            self.machines.failed = self._failed = True
            if self.environment is not None:
                self.environment.fail()

    def prepare(self, item: pytest.Item) -> None:
        """Put the machines into the state that the test and its fixtures are to find."""
        if os.getpid() != self._process:
            pytest.fail(FORKED, pytrace=False)
        assert self.current is not None
        asked = self._variant_of(self.current.wanted)
        if self.settings.attach is not None and self.sketch is not None and asked != self.sketch.variant:
            pytest.skip(f"needs variant {asked}, and the environment has {self.sketch.variant or 'none'}")
        if self.environment is not None and asked != self._variant:
            return  # fixtures that use the one before end first; see `use`
        self._bring(asked, fresh="fresh_environment" in getattr(item, "fixturenames", ()))

    def use(self, variant: str | None) -> Environment:
        """The environment, up; one of another variant is closed before."""
        asked = variant or self._variant_of(Wanted())
        if self.environment is None or asked != self._variant:
            self._bring(asked, fresh=False)
        assert self.environment is not None
        return self.environment

    def _bring(self, variant: str, *, fresh: bool) -> None:
        """Open it where that is necessary, and reset it where the test needs it."""
        if self._unusable and self._variant == variant:
            pytest.fail(self._unusable, pytrace=False)
        with self._explained(), self._overhead():
            if self.environment is not None and variant != self._variant:
                self.close()
            if self.environment is None or self._made_room:
                self._variant = variant
                self._open()
            self._settle(fresh=fresh)
        if self.current is not None and self.environment is not None:
            self.current.begin(self.environment)

    def make_fresh(self, item: pytest.Item) -> None:
        """For a test that gets the fixture `fresh_environment` by its name at run time."""
        if "fresh_environment" not in getattr(item, "fixturenames", ()):
            with self._explained():
                self._settle(fresh=True)

    @contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """A fault of the topology for the block."""
        assert self.environment is not None
        fault = self.environment.fault(name)
        with self._explained(), self._overhead():
            fault.begin()
        try:
            yield
        finally:
            with self._explained(), self._overhead():
                fault.end()

    def factor(self) -> float:
        """What limits are multiplied with on this host."""
        if self.environment is not None and not self._made_room:
            return self.environment.factor
        try:
            return host_factor()
        except OrchestratorError as error:
            pytest.fail(text_of(error), pytrace=False)

    # ------------------------------------------------------------------ inside

    def _settle(self, *, fresh: bool) -> None:
        """Reset the machines if the test that comes must find them so."""
        current, environment = self.current, self.environment
        assert environment is not None
        asked = current.wanted if current is not None else Wanted()
        snapshot = asked.snapshot or self.settings.start_from or HEALTHY
        level = asked.reset or self.settings.reset
        place = current.place if current is not None else self.machines.last
        if place is None or not reset_reason(level, snapshot, place, self.machines, fresh=fresh):
            return
        self.machines.failed = True  # until it is done
        if snapshot == HEALTHY:
            environment.reset()
        else:
            environment.restore(snapshot)
        self.machines = Condition(snapshot)

    @contextmanager
    def _overhead(self) -> Iterator[None]:
        """Time that is not the test's."""
        if self.current is None:
            yield
            return
        with self.current.overhead():
            yield

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of ours as pytest shows them: without the traceback; wrong use ends the run."""
        try:
            yield
        except OrchestratorError as error:
            wrong_use = isinstance(error, (UsageError, TopologyError)) and self.environment is None
            if wrong_use and self.worker is None:
                pytest.exit(text_of(error), returncode=4)
            pytest.fail(text_of(error), pytrace=False)


def host_factor() -> float:
    """The time factor of this host, where no environment runs to be asked."""
    from orchestrator.driver.facade import wait
    from orchestrator.folders import cache_root
    from orchestrator.vm.accelerator import probe

    return wait(probe(cache_root() / "accelerator.json")).factor


HOLDER = pytest.StashKey[Holder]()
