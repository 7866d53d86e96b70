"""What a night is to do, as frozen data; `orchestrator.topology.read_nightly` makes it from ``[nightly]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import product
from pathlib import Path


class Flaky(StrEnum):
    """What a flaky test does to the exit code."""

    WARN = "warn"
    FAIL = "fail"


class Overlap(StrEnum):
    """What a night does while another one is under way."""

    SKIP = "skip"
    WAIT = "wait"


class Isolation(StrEnum):
    """What of a suite starts from a fresh state."""

    NONE = "none"
    SUITE = "suite"
    FILE = "file"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A test that is known to fail, and whose failures do not count until a day.

    Attributes:
        test: a part of its title.
        until: the last day.
    """

    test: str
    reason: str
    until: date

    def holds(self, today: date) -> bool:
        return today <= self.until


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept; seconds, bytes.

    Attributes:
        failed: the whole folder of a run with a failure or a flaky test.
        passed: the whole folder of any other run; the last ``passed_runs`` stay in any case.
        evidence: events, summary and JUnit file of every run.
        size: of all run folders; None: no limit.
    """

    failed: float = 30 * 86_400.0
    passed: float = 3 * 86_400.0
    passed_runs: int = 5
    evidence: float = 365 * 86_400.0
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told, and how. An address may be ``file:PATH``: the file holds it.

    Attributes:
        command: gets the message on stdin.
        webhook: gets it as JSON, by POST.
        apprise: addresses of apprise.
        ping: is told that a night begins and how it ended.
        link: an address of the site, for the message; ``{night}`` is the night's name.
    """

    command: tuple[str, ...] = ()
    webhook: str = ""
    apprise: tuple[str, ...] = ()
    ping: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a night.

    Attributes:
        name: a folder's name too.
        variant: None: the file's own.
        suite: in place of the file's.
        layers: folders in place of those of layers.
    """

    name: str
    variant: str | None = None
    suite: Path | None = None
    layers: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Nightly:
    """What a night is to do.

    Attributes:
        topology: the file.
        name: its environment.
        budget: seconds for everything; what does not fit is left out and told.
        reruns: how often a failed test is repeated, each time in a fresh state.
        new_tests: how often a test is repeated in its first night.
        pull: folders of Git repositories.
        build: whether images are built before the first run, so that their build is not taken for a run's failure.
        at: the time of day for ``--install``.
        site: the folder of the pages; None: none are made.
        metrics: the file for node_exporter.
    """

    topology: Path
    name: str
    variants: tuple[str, ...] = ()
    suites: Mapping[str, Path] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    budget: float = 6 * 3600.0
    isolate: Isolation = Isolation.NONE
    reruns: int = 3
    new_tests: int = 5
    flaky: Flaky = Flaky.WARN
    overlap: Overlap = Overlap.SKIP
    pull: tuple[Path, ...] = ()
    build: bool = True
    at: str = "02:00"
    site: Path | None = None
    metrics: Path | None = None
    quarantine: tuple[Quarantined, ...] = ()
    retention: Retention = Retention()
    notify: Notify = Notify()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every variant with every suite and every set of layers, in the order of the file."""
        variants = self.variants or (None,)
        suites: Mapping[str, Path | None] = self.suites or {"": None}
        layers = self.layers or {"": {}}
        found = []
        for variant, suite, chosen in product(variants, suites, layers):
            name = "-".join(part for part in (variant, suite, chosen) if part) or "run"
            found.append(Cell(name, variant, suites[suite], layers[chosen]))
        return tuple(found)

    def quarantined(self, title: str, today: date) -> Quarantined | None:
        """Why a test's failures do not count, if they do not."""
        return next((one for one in self.quarantine if one.test in title and one.holds(today)), None)
