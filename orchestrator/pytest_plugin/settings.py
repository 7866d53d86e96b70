"""The options of the plugin, from the command line, the ini file or the environment, and whether they fit together."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.pytest_plugin.told import on_terminal

START = ("auto", "warm", "cold")
KEEP = ("never", "failure", "always")
RESET = ("none", "session", "module", "class", "function")
DEFAULT_FILE = "orchestrator.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for.

    Attributes:
        file: the topology file; None: there is none.
        variant, name: None: those of the file.
        attach: the environment to use as it runs; empty: the only one; None: start one.
        reset: before which tests the machines go back to their saved state.
        start_from: the snapshot that they begin from and go back to; empty: the healthy state.
        layers: folders in place of the sources of layers.
    """

    file: Path | None
    variant: str | None
    name: str | None
    attach: str | None
    start: str
    keep: str
    reset: str
    sit: bool
    start_from: str
    runs: Path
    layers: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sketch:
    """A topology at first sight, enough to make fixtures.

    Attributes:
        variant: the one that is used where no marker names another.
    """

    name: str
    machines: tuple[str, ...]
    variant: str
    variants: tuple[str, ...]


def add_options(parser: pytest.Parser) -> None:
    """Declare all options; most can be set in the ini file as well."""
    group = parser.getgroup("orchestrator", "environments of real machines (orchestrator)")

    def option(name: str, text: str, *, ini: bool = True, **how: Any) -> None:
        key = f"orch_{name.replace('-', '_')}"
        group.addoption(f"--orch-{name}", dest=key, help=text, **{"default": None, **how})
        if ini:
            parser.addini(key, text, default="")

    option("file", f"the topology file (default: {DEFAULT_FILE}, where there is one)", metavar="FILE")
    option("variant", "a variant of the topology (default: the file's own)", metavar="V")
    option(
        "layer",
        "another folder in place of a layer's source; may be repeated",
        ini=False,
        action="append",
        metavar="NAME=DIR",
    )
    option("name", "the environment's name (default: the topology's)", metavar="NAME")
    option(
        "attach",
        "use an environment that runs, and leave it running; without a NAME the only one",
        ini=False,
        nargs="?",
        const="",
        metavar="NAME",
    )
    option("start", "from a saved healthy state where one fits (auto, the default), warm, or cold", choices=START)
    option("keep", "whether the machines stay at the end: never (the default), failure, always", choices=KEEP)
    option("reset", "when the machines go back to their saved state (default: module)", choices=RESET)
    option("start-from", "a snapshot in place of the healthy state", metavar="SNAPSHOT")
    option(
        "sit",
        "stop at a failed test, the machines as they are, until Enter is pressed",
        ini=False,
        action="store_true",
        default=False,
    )


def settings_of(config: pytest.Config) -> Settings:
    """The options as given, else of the ini file, else of the environment.

    Raises:
        pytest.UsageError: a value is none, or options do not go together.
    """

    def value(name: str, variable: str = "") -> str | None:
        given = config.getoption(f"orch_{name}")
        return given or config.getini(f"orch_{name}") or os.environ.get(variable) or None

    def choice(name: str, choices: tuple[str, ...], default: str) -> str:
        found = value(name) or default
        if found not in choices:
            raise pytest.UsageError(f"orch_{name} = {found}: write one of {', '.join(choices)}")
        return found

    settings = Settings(
        file=_file(config),
        variant=value("variant", "ORCH_VARIANT"),
        name=value("name", "ORCH_NAME"),
        attach=config.getoption("orch_attach"),
        start=choice("start", START, "auto"),
        keep=choice("keep", KEEP, "never"),
        reset=choice("reset", RESET, "module"),
        sit=config.getoption("orch_sit"),
        start_from=value("start_from") or "",
        runs=Path(os.environ.get("ORCH_RUNS") or "runs"),
        layers=_layers(config),
    )
    _check(config, settings)
    return settings


def _file(config: pytest.Config) -> Path | None:
    here = config.invocation_params.dir
    for given, base in (
        (config.getoption("orch_file"), here),
        (config.getini("orch_file"), config.inipath.parent if config.inipath else here),
        (os.environ.get("ORCH_FILE"), here),
    ):
        if given:
            return base / given
    return next((path for path in (here / DEFAULT_FILE, config.rootpath / DEFAULT_FILE) if path.is_file()), None)


def _layers(config: pytest.Config) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in config.getoption("orch_layer") or ():
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise pytest.UsageError(f"--orch-layer {text}: write NAME=DIR")
        if name in found:
            raise pytest.UsageError(f"--orch-layer {name} is given twice: {found[name]} and {folder}")
        found[name] = config.invocation_params.dir / folder
    return found


def _check(config: pytest.Config, settings: Settings) -> None:
    workers = distributed(config)
    if settings.sit and workers:
        raise pytest.UsageError("--orch-sit stops at a terminal, and workers of xdist have none: leave out -n")
    if settings.sit and not _has_terminal(config):
        raise pytest.UsageError("--orch-sit waits for Enter, and standard input is not a terminal")
    if settings.attach is not None and workers:
        raise pytest.UsageError("--orch-attach is for one process, an environment has one user: leave out -n")
    if settings.attach and Path(settings.attach).exists():
        raise pytest.UsageError(
            f"--orch-attach took {settings.attach} as the name of an environment: write --orch-attach=NAME, "
            "or the option last"
        )
    if settings.attach is not None and settings.layers:
        raise pytest.UsageError("--orch-attach uses what runs, so --orch-layer does not go with it")
    if settings.attach is not None and settings.start != "auto":
        raise pytest.UsageError("--orch-attach starts nothing, so --orch-start does not go with it")


def _has_terminal(config: pytest.Config) -> bool:
    with on_terminal(config):
        return sys.__stdin__ is not None and sys.__stdin__.isatty()


def distributed(config: pytest.Config) -> bool:
    """Whether this process, or another of the same run, is a worker of xdist."""
    return hasattr(config, "workerinput") or config.getoption("dist", "no") != "no"


def sketch_for(settings: Settings) -> Sketch | None:
    """The topology at first sight: of the environment that runs, or of the file; None where there is no file.

    Raises:
        pytest.UsageError: the file cannot be read, or the environment does not run.
    """
    if settings.attach is not None:
        return _of_running(settings.attach)
    return None if settings.file is None else _of_file(settings.file, settings.variant)


def _of_file(file: Path, variant: str | None) -> Sketch:
    import tomllib

    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise pytest.UsageError(f"the topology file {file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise pytest.UsageError(f"the topology file {file} is wrong: {error}") from error
    variants = _table(data, "variants")
    machines = [*_table(data, "machines")]
    for one in variants.values():
        machines += _table(one, "machines")
    return Sketch(
        name=str(data.get("name", "")),
        machines=tuple(dict.fromkeys(machines)),
        variant=variant or str(data.get("variant", "")),
        variants=tuple(variants),
    )


def _table(data: object, name: str) -> dict[str, Any]:
    found = data.get(name) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _of_running(name: str) -> Sketch:
    from orchestrator.driver.request import of_running

    try:
        request = of_running(name or None, "runs")
    except OrchestratorError as error:
        raise pytest.UsageError(f"--orch-attach: {error.brief}; {error.hint}") from error
    topology = request.topology
    return Sketch(request.name, tuple(topology.machines), topology.variant, topology.variants)
