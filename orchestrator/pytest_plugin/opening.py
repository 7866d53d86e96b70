"""When the environment of a test run is up."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.pytest_plugin.current import Current
from orchestrator.pytest_plugin.markers import Wanted
from orchestrator.pytest_plugin.resets import Condition
from orchestrator.pytest_plugin.settings import Settings, Sketch
from orchestrator.pytest_plugin.told import leave_out_own_logs, say, text_of

if TYPE_CHECKING:
    from orchestrator.pytest_plugin.workers import Worker
    from orchestrator.sync import Environment

HEALTHY = "healthy"
LONGEST_NAME = 31  # characters of an environment's name
IDLE = 1.0  # seconds that a worker has nothing to do before it makes room for one that waits


class Opening:
    """Opens the environment of a test run, and closes it."""

    def __init__(self, config: pytest.Config, settings: Settings, sketch: Sketch | None, worker: Worker | None) -> None:
        self.config = config
        self.settings = settings
        self.sketch = sketch
        self.worker = worker
        self.keep = settings.keep
        self.environment: Environment | None = None
        self.current: Current | None = None
        self.summary: list[str] = []
        self.refused = ""
        self.machines = Condition(HEALTHY)
        self._variant = ""
        self._process = os.getpid()
        self._busy = threading.Lock()  # held while a test has the machines
        self._idle_since = monotonic()
        self._made_room = False
        self._unusable = ""  # why an opening of this variant failed
        self._room: threading.Thread | None = None
        self._over = threading.Event()
        self._failed = False

    def _variant_of(self, asked: Wanted) -> str:
        return asked.variant or (self.sketch.variant if self.sketch else "")

    def _open(self) -> None:
        leave_out_own_logs(self.config)
        if self.environment is None:
            if self.worker is None:
                say(self.config, "an environment comes up")
            self.environment = self._made()
        try:
            if self.worker is None:
                self.environment.open()
            else:
                self.worker.start(self._open_in_worker, lambda text: say(self.config, text))
        except BaseException as error:
            if not self._made_room:
                self.environment = None
                self._unusable = text_of(error) if isinstance(error, OrchestratorError) else ""
            raise
        if self.worker is not None and self._room is None:
            self._room = threading.Thread(target=self._make_room, daemon=True, name="orchestrator-room")
            self._room.start()
        self._made_room, self._unusable = False, ""
        self.machines = Condition(HEALTHY, known=not self.environment.joined)
        self.summary.append(f"environment {self.environment.name}: {self.environment.artifacts}/report/index.html")

    def _open_in_worker(self) -> None:
        assert self.environment is not None
        self.environment.open()

    def _made(self) -> Environment:
        from orchestrator.sync import Environment

        settings = self.settings
        if settings.attach is not None:
            return Environment.attach(settings.attach or None, runs=settings.runs)
        if settings.file is None or self.sketch is None:
            raise UsageError("there is no topology file", hint="pytest --orch-file FILE")
        name = settings.name or self.sketch.name
        if self.worker is not None:
            name = self.worker.name(name)
            if len(name) > LONGEST_NAME:
                raise UsageError(f"{name} is too long for an environment's name", hint="pytest --orch-name NAME")
        return Environment.load(
            settings.file,
            variant=self._variant or None,
            name=name,
            layers=settings.layers,
            start=settings.start,
            keep=self.keep,
            images=os.environ.get("ORCH_IMAGES") or "auto",
            runs=settings.runs,
            free_ports=self.worker is not None,
        )

    def close(self) -> None:
        """Close it, as `--orch-keep` says; it may be used again afterwards.

        Raises:
            OrchestratorError: it did not end in order.
        """
        environment, self.environment = self.environment, None
        if environment is None or os.getpid() != self._process:
            return
        stays = environment.joined or self.keep == "always" or (self.keep == "failure" and self._failed)
        try:
            if not self._made_room:
                environment.close()
        finally:
            self._made_room = False
            if self.worker is not None:
                self.worker.ended()
        if stays:
            self.summary.append(f"{environment.name} stays up: orchestrator -n {environment.name} down ends it")

    def finish(self) -> None:
        """The run is over."""
        self._over.set()
        with self._busy:
            try:
                self.close()
            except OrchestratorError as error:
                self.summary.append(text_of(error))

    def _make_room(self) -> None:
        """In a thread: while this worker has nothing to do and another waits for memory, close the environment."""
        assert self.worker is not None
        while not self._over.wait(IDLE):
            if not self._busy.acquire(blocking=False):
                continue
            try:
                idle = monotonic() - self._idle_since >= IDLE
                if idle and self.environment is not None and not self._made_room and self.worker.others_wait:
                    self._made_room = True
                    with suppress(OrchestratorError):
                        self.environment.close()
                    self.worker.ended()
            finally:
                self._busy.release()
