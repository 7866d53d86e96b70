"""pytest: the machines of a topology as fixtures. docs/pytest.md is the manual.

pytest loads this in every run of a project that has the orchestrator installed. So nothing here imports more than
pytest and small modules before a test uses an environment.
"""

from __future__ import annotations

import pytest

from orchestrator.pytest_plugin import fixtures
from orchestrator.pytest_plugin.holder import HOLDER, Holder
from orchestrator.pytest_plugin.hooks import Hooks
from orchestrator.pytest_plugin.machines import make_fixtures, taken_names
from orchestrator.pytest_plugin.markers import MARKERS
from orchestrator.pytest_plugin.results import Results
from orchestrator.pytest_plugin.settings import add_options, settings_of, sketch_for
from orchestrator.pytest_plugin.workers import worker_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options, and what the ini file may say in their place."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options and, at first sight, the topology; make a fixture for each machine."""
    for line in MARKERS:
        config.addinivalue_line("markers", line)
    settings = settings_of(config)
    sketch = sketch_for(settings)
    worker = worker_of(config)
    holder = config.stash[HOLDER] = Holder(config, settings, sketch, worker)
    manager = config.pluginmanager
    manager.register(fixtures, "orchestrator-fixtures")
    if sketch is not None:
        made, refused = make_fixtures(sketch.machines, taken_names(config))
        manager.register(made, "orchestrator-machines")
        if worker is None:
            for line in refused:
                config.issue_config_time_warning(pytest.PytestConfigWarning(line), 2)
    manager.register(Hooks(holder), "orchestrator-hooks")
    manager.register(Results(holder), "orchestrator-results")
