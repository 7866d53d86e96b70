"""``orchestrator exec``: one command in a machine; its streams stay separate and unchanged, its exit code is ours."""

from __future__ import annotations

import argparse
import asyncio
import os
import queue
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from orchestrator.cli.runtime import known_machine, living_state, say
from orchestrator.cli.signals import counts, ending_signals
from orchestrator.deadline import Deadline
from orchestrator.environment.attach import ssh_to
from orchestrator.errors import HostError, Interrupted, MachineError, UsageError
from orchestrator.guest.command import CHUNK, Running, command_line
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.transport import paramiko
from orchestrator.streams import STDERR, STDOUT, give, take
from orchestrator.threads import next_of

TOO_LATE = 124


def run(arguments: argparse.Namespace) -> int:
    command = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not command:
        raise UsageError("no command to run", hint=f"orchestrator exec {arguments.machine} -- uname -a")
    paths, state = living_state(arguments)
    known_machine(state, arguments.machine)

    limit = Deadline.after(arguments.timeout) if arguments.timeout else None

    async def work() -> int:
        async with ssh_to(paths, state, arguments.machine, limit=arguments.timeout) as ssh:
            running = Running(ssh, command_line(command, user=arguments.user))
            return _Streams(ssh, running, with_stdin=not arguments.no_stdin).run(limit)

    try:
        return asyncio.run(work())
    except MachineError:
        if limit is None or not limit.expired:
            raise
        say(f"not started within {limit}: machine {arguments.machine} did not answer before")
        return TOO_LATE


class _Streams:
    """Connects the command to our streams: a thread for each, while this one waits for the end."""

    def __init__(self, ssh: Ssh, running: Running, *, with_stdin: bool) -> None:
        self._ssh = ssh
        self._running = running
        self._with_stdin = with_stdin
        # What happened first counts: the exit code, a failure, or a signal. The queue is safe in a signal's handler.
        self._outcomes: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()

    def run(self, limit: Deadline | None) -> int:
        """Run it to its end (blocking, because there is nothing else to do); its exit code."""
        # The event loop's own handler would only cancel its task, which never looks while this blocks.
        for number in ending_signals():
            signal.signal(number, self._signalled)
        taker = threading.Thread(target=self._guarded, args=(self._command,), daemon=True, name="stdout")
        taker.start()
        try:
            outcome = next_of(self._outcomes, limit)
        except queue.Empty:
            self._running.end(taker)
            say(f"ended after {limit}, in the machine too")
            return TOO_LATE
        if isinstance(outcome, BaseException):
            self._running.end()
            raise outcome
        if self._running.ended_by:
            say(f"the command was ended by {self._running.ended_by}")
        return outcome

    def _signalled(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal's signature
        which = counts(number)
        if which == 2:
            os._exit(128 + number)
        if which == 1:
            self._outcomes.put(Interrupted(number))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the command is waited for
            self._outcomes.put(error)

    def _command(self) -> None:
        try:
            channel = self._running.begin()
            errors = threading.Thread(target=self._copy_errors, args=(channel,), daemon=True, name="stderr")
            errors.start()
            if self._with_stdin:
                feeding = (lambda: _feed(channel),)
                threading.Thread(target=self._guarded, args=feeding, daemon=True, name="stdin").start()
            else:
                channel.shutdown_write()
            data = self._running.first_output() or channel.recv(CHUNK)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._ssh.lost(error) from error
        while data:
            give(STDOUT, data)
            data = channel.recv(CHUNK)
        errors.join()
        try:
            self._outcomes.put(self._running.exit_code())
        except EOFError as error:
            raise self._ssh.lost(error) from error

    def _copy_errors(self, channel: paramiko.Channel) -> None:
        failed = False
        while data := channel.recv_stderr(CHUNK):
            if not failed:  # and to the end also after that, or the guest could not go on
                try:
                    give(STDERR, data)
                except (OSError, HostError) as error:
                    failed = True
                    self._outcomes.put(error)


def _feed(channel: paramiko.Channel) -> None:
    """Copy our stdin to the command's until its end; a failed read is not an end."""
    while True:
        data = take(CHUNK)
        with suppress(OSError, paramiko.SSHException):  # the command may end without reading it
            if data:
                channel.sendall(data)
                continue
            channel.shutdown_write()
        return
