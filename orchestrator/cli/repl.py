"""``orchestrator repl``: the environment is opened, the user types, and what was brought up is taken down."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from orchestrator.cli.progress import Mode, Progress, make_progress
from orchestrator.cli.progress_lines import LineWriter
from orchestrator.cli.runtime import run_command, say
from orchestrator.cli.up import request_of, start_fresh
from orchestrator.driver.environment import Environment
from orchestrator.driver.shell import python_name
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event
from orchestrator.events.machines import MachineStateChanged
from orchestrator.events.run import Failure, Note
from orchestrator.folders import state_root
from orchestrator.repl.objects import ReplEnvironment, namespace_of
from orchestrator.repl.plain import is_interactive
from orchestrator.repl.prompts import run_prompt
from orchestrator.repl.typed import Typed


def run(arguments: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _ended)
    view = View(arguments)
    request = request_of(arguments)
    if arguments.fresh:
        run_command(arguments, lambda bus: start_fresh(request, bus))
    env = ReplEnvironment._of(Environment(request, keep="always" if arguments.keep else "never", subscriber=view))
    with view.full():
        try:
            env.open()
        except OrchestratorError as error:
            error.shown = view.told_failure
            raise
    code = 1
    try:
        code = _prompt(env, arguments)
    finally:
        _leave(env, view, failed=code != 0)
    return code


def _ended(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
    sys.exit(128 + number)  # as an exception, so that the environment is closed


def _prompt(env: ReplEnvironment, arguments: argparse.Namespace) -> int:
    names = [python_name(name) for name in env]
    typed = Typed(env.name, names)
    namespace = {**namespace_of(env), "save_test": typed.save_test}
    return run_prompt(namespace, typed, state_root(), _banner(env, names), plain=arguments.plain)


def _banner(env: ReplEnvironment, names: list[str]) -> str:
    first = names[0]
    stays = "ran before, and stays" if env.joined else "was brought up for this prompt"
    return (
        f"Environment {env.name} {stays}. Names: {', '.join(names)}, env, services, start_all(), save_test(FILE).\n"
        f"Try {first}.succeed('uname -r'), {first}.shell_interact(), help({first}). Ctrl-C ends a wait, Ctrl-D all."
    )


def _leave(env: ReplEnvironment, view: View, *, failed: bool) -> None:
    """Close the environment, which nobody interrupts."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if failed:
        env.fail()
    name, folder = env.name, env.artifacts
    stays = env.joined or env._core._keep == "always"
    if not stays and is_interactive():
        say(f"taking environment {name} down; `orchestrator repl --keep` leaves it")
    with view.silent():
        env.close()
    ends = f"`orchestrator -n {name} down` ends it"
    say(f"environment {name} {f'stays up; {ends}' if stays else 'is down'}; evidence is in {folder}")


class View:
    """What is shown of the environment's events: all while it comes up, and only what is bad at the prompt.

    Attributes:
        told_failure: a failure was shown.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.told_failure = False
        self._arguments = arguments
        self._lines = LineWriter()
        self._show: Callable[[Event], object] = self._at_prompt

    def __call__(self, event: Event) -> None:
        self.told_failure |= isinstance(event, Failure)
        self._show(event)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Progress as with `up`, for the block."""
        with self._progress() as progress:
            self._show = progress
            try:
                yield
            finally:
                self._show = self._at_prompt

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Only failures, for the block."""
        self._show = lambda event: self._at_prompt(event) if isinstance(event, Failure) else None
        yield

    def _progress(self) -> Progress:
        arguments = self._arguments
        mode: Mode = "quiet" if arguments.quiet else arguments.progress
        return make_progress(mode, verbose=arguments.verbose, color=False if arguments.no_color else None)

    def _at_prompt(self, event: Event) -> None:
        lost = isinstance(event, MachineStateChanged) and event.state in ("died", "panicked")
        warned = isinstance(event, Note) and event.level == "warning"
        if (lost or warned or isinstance(event, Failure)) and (line := self._lines.line(event)):
            say(line)
