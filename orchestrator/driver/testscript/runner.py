"""Runs one script in an open environment."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.deadline import monotonic
from orchestrator.driver.environment import Environment
from orchestrator.driver.loop import driver_loop
from orchestrator.driver.testscript.calls import Calls, ScriptStopped
from orchestrator.driver.testscript.cases import Cases
from orchestrator.driver.testscript.conditions import Retry
from orchestrator.driver.testscript.namespace import namespace
from orchestrator.driver.testscript.outcome import Outcome, failure_of, is_of_script
from orchestrator.driver.testscript.script import Script
from orchestrator.driver.testscript.script_base import Surroundings
from orchestrator.driver.testscript.script_machine import ScriptMachine
from orchestrator.driver.testscript.suite_on_demand import SuiteOnDemand
from orchestrator.errors import OrchestratorError
from orchestrator.events.run import Failure
from orchestrator.timescale import TimeScale

T = TypeVar("T")


class ScriptThread:
    """The script's own thread. Its outcome is set when the script has ended, and never an error; `error` has that."""

    def __init__(self, script: Script, symbols: dict[str, Any]) -> None:
        self.error: BaseException | None = None
        self.ended: Future[None] = Future()
        self._script = script
        self._symbols = symbols
        self.thread = threading.Thread(target=self._run, daemon=True, name=f"script {script.name}")

    def _run(self) -> None:
        try:
            code = compile(self._script.text, str(self._script.path), "exec", dont_inherit=True)
            exec(code, {"__name__": "testScript", "__file__": str(self._script.path), **self._symbols})  # noqa: S102
        except SystemExit as end:
            self.error = None if end.code in (None, 0) else end
        except BaseException as error:  # noqa: BLE001 - whatever a script raises is its outcome
            self.error = error
        finally:
            self.ended.set_result(None)


class ScriptRun:
    """One script in one environment.

    `begin`, wait for the future, `conclude`. All from one thread, which is neither the loop's nor the script's.
    """

    def __init__(self, environment: Environment, script: Script, *, keep_going: bool = False) -> None:
        self._environment = environment
        self._script = script
        self._began = monotonic()
        self._calls = Calls()
        self._cases = Cases(script, environment.record, keep_going=keep_going)
        self._suite = SuiteOnDemand(environment)
        self._out = (environment.artifacts / "artifacts").absolute()
        around = Surroundings(self._calls, self._cases, self._out, script.path.parent, self._before_command)
        machines = {name: ScriptMachine(core, around) for name, core in environment.machines.items()}
        retry = Retry(self._calls, TimeScale(environment.factor))
        networks = environment._session.topology.networks
        self._thread = ScriptThread(script, namespace(machines, networks, self._calls, self._cases, retry))
        self._before = Path.cwd()

    def _before_command(self, machine: str, command: str) -> None:
        if self._suite.wanted(machine, command):
            self._cases.say(f"{machine}: copying the browser suite")
            self._calls.wait(self._suite.bring())

    def begin(self) -> Future[None]:
        """Start the script; its working folder, and so that of this process, is the output folder."""
        self._out.mkdir(parents=True, exist_ok=True)
        os.chdir(self._out)
        sys.path.insert(0, str(self._script.path.parent))
        self._cases.begin()
        self._thread.thread.start()
        return self._thread.ended

    @property
    def error(self) -> BaseException | None:
        """What the script raised."""
        return self._thread.error

    def stop(self) -> None:
        """End the script; the future tells when it has."""
        self._calls.stop(self._thread.thread)

    def conclude(self, stopped: OrchestratorError | None = None) -> Outcome:
        """What is left to do when the script has ended, or is given up.

        Args:
            stopped: why it was ended from outside.
        """
        os.chdir(self._before)
        with suppress(ValueError):
            sys.path.remove(str(self._script.path.parent))
        error: BaseException | None = ScriptStopped() if stopped is not None else self._thread.error
        self._cases.finish(error)
        failed = stopped or error or self._cases.first_error
        if failed is None:
            driver_loop.wait(self._sync())
            return self._outcome("passed", 0)
        if isinstance(failed, OrchestratorError) and (failed is stopped or not is_of_script(failed)):
            return self._machines_failed(failed)
        failure = failure_of(failed, self._script)
        if error is None:
            failure.what = f"{self._cases.summary()}, first: {failure.what}"
        failure.what = f"{self._script.shown}: {failure.what}"
        self._environment.record(Failure.of(failure))
        self._environment.fail()
        self._quietly(self._environment.collect("failure"))
        self._quietly(self._suite.bring_home())
        return self._outcome("failed", 1, failure.what)

    def _machines_failed(self, error: OrchestratorError) -> Outcome:
        """The machines below the script, the limit, or somebody who pressed Ctrl-C."""
        code = error.exit_code
        if code <= 128:
            error = driver_loop.wait(self._environment._explained(error))
        self._environment.fail(error)
        return self._outcome("error" if code <= 128 else "interrupted", code, error.brief)

    async def _sync(self) -> None:
        for machine in self._environment.machines.values():
            if machine.state == "up":
                with suppress(OrchestratorError):
                    await machine.execute("sync")
        await self._suite.bring_home()

    def _quietly(self, work: Coroutine[Any, Any, object]) -> None:
        with suppress(OrchestratorError, OSError):
            driver_loop.wait(work)

    def _outcome(self, word: str, code: int, error: str = "") -> Outcome:
        return Outcome(
            file=self._script.shown,
            outcome=word,
            exit_code=code,
            seconds=round(monotonic() - self._began, 3),
            run_folder=str(self._environment.artifacts),
            cases=tuple(self._cases.cases),
            error=error,
        )


def interruption(number: int) -> OrchestratorError:
    """The error of a script that a signal ended."""
    kind = type("ScriptInterrupted", (OrchestratorError,), {"exit_code": 128 + number})
    error: OrchestratorError = kind("interrupted")
    return error


def discard(environment: Environment) -> None:
    """Take an environment down when it is closed, whatever was asked for."""
    environment._keep = "never"
