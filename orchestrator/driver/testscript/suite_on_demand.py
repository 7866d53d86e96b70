"""The browser suite of the topology, in its machine before a script calls the suite's command."""

from __future__ import annotations

import re
import shlex

from orchestrator.deadline import FOREVER, Deadline
from orchestrator.driver.environment import Environment
from orchestrator.environment.suite import bring_home, push
from orchestrator.environment.suite_run import SuiteRun

WRAPPER = """#!/bin/sh
# Made by `orchestrator test`: a call from a folder without a suite runs the topology's, as its first phase does.
for word in "$@"; do case $word in --suite | --suite=* | --help | -h) exec {real} "$@" ;; esac; done
[ ! -e package.json ] || exec {real} "$@"
[ $# -gt 0 ] || set -- {arguments}
cd {folder}
exec runuser -u {user} -- env {variables} {real} "$@"
"""


class SuiteOnDemand:
    """Copies the suite at the first command that names it."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        session = environment._session
        suite = session.topology.suite
        self._run = None if suite is None else SuiteRun(session, suite, Deadline.after(FOREVER))
        self._name = "" if suite is None else suite.command[0].rpartition("/")[2]
        self.there = False

    def wanted(self, machine: str, command: str) -> bool:
        """Whether a command needs the suite, and it is not there."""
        if self._run is None or self.there or machine != self._run.suite.machine:
            return False
        return re.search(rf"(?<![\w.-]){re.escape(self._name)}(?![\w.-])", command) is not None

    async def bring(self) -> None:
        """Copy the suite, and put a program before the suite's command that knows its folder, user and variables."""
        assert self._run is not None
        run, machine = self._run, self._environment[self._run.suite.machine]
        await machine._up()
        await push(run)
        self.there = True
        found = await machine.succeed(f"type -P {shlex.quote(self._name)}; printf '%s\\n' \"$PATH\"")
        real, _, path = found.strip().partition("\n")
        before = path.split(":")[: path.split(":").index(real.rpartition("/")[0])]
        if not before:
            run.note("warning", f"{self._name} is run as the script calls it: no folder of PATH is before its own")
            return
        first = run.suite.phases[0] if run.suite.phases else None
        text = WRAPPER.format(
            real=shlex.quote(real),
            arguments=shlex.join((*run.suite.command[1:], *(first.args if first else ()))),
            folder=shlex.quote(run.guest_folder),
            user=shlex.quote(run.suite.user),
            variables=shlex.join(f"{k}={v}" for k, v in run.environment(first.name if first else "").items()),
        )
        place = f"{before[0]}/{self._name}"
        await machine.path(before[0]).mkdir()
        await machine.path(place).write_text(text)
        await machine.succeed(f"chmod 0755 {shlex.quote(place)}")

    async def bring_home(self) -> None:
        """Its artifacts, where it was used."""
        if self.there and self._run is not None and self._run.machine.handed_over:
            await bring_home(self._run, await self._run.ssh())
