"""Waits for what happens in a machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from orchestrator.deadline import FOREVER, Deadline, completes_before, pause
from orchestrator.debug import timed
from orchestrator.driver.machine_commands import Command, Commands
from orchestrator.driver.results import CommandFailed, JournalEntry, Seconds, WaitFailed, ended_text
from orchestrator.driver.shell import file_loop, port_loop, unix_socket_loop, user_systemctl
from orchestrator.errors import MachineError, UsageError
from orchestrator.guest.tunnel import HttpAnswer, NoAnswerError, get, tls_context
from orchestrator.services.systemd import PROPERTIES, UnitStatus, parse_show
from orchestrator.threads import in_thread
from orchestrator.topology.urls import parse_url

WAIT = 60.0  # seconds of a wait, before scaling
LOOK = 1.0  # seconds between looks at a unit of which the journal tells nothing, before scaling
AGAIN = 0.2  # seconds between tries of a command
PROBE = 0.05  # seconds between looks of a loop in the guest
HTTP_TRY = 10.0  # seconds of one request, before scaling


class Waits(Commands):
    """Waits. All limits are seconds on a host with KVM; a slower host has more."""

    # ------------------------------------------------------------------ units

    async def wait_for_unit(self, unit: str, user: str | None = None, timeout: Seconds | None = WAIT) -> None:
        """Wait until a unit is active. The journal's lines about it are looked at at once.

        Args:
            unit: its name; without a suffix a service.
            user: whose unit; None: the system's.

        Raises:
            WaitFailed: it failed, it is inactive and nothing is about to start it, or the limit passed.
        """
        deadline = self._deadline(timeout)
        journal = self._journal_size()
        status = UnitStatus(unit, "", "unknown", "", "", 0, 0)

        def late() -> WaitFailed:
            return self._unit_failed(f"unit {unit} is {status.active} after {deadline}", journal, unit)

        async with deadline.enforce(late):
            while True:
                status = await self._unit(unit, user)
                if status.active == "active":
                    return
                if status.active == "failed":
                    raise self._unit_failed(f"unit {unit} failed (result {status.result})", journal, unit)
                if status.active == "inactive" and not await self._may_start(user):
                    status = await self._unit(unit, user)
                    if status.active == "inactive":
                        raise self._unit_failed(self._idle(unit, status), journal, unit)
                    continue
                await self._news_of(status.unit or unit)

    def _idle(self, unit: str, status: UnitStatus) -> str:
        if status.load not in ("loaded", ""):
            return f"unit {unit} is {status.load}"
        return f"unit {unit} is inactive, and there is no job that would start it"

    async def _may_start(self, user: str | None) -> bool:
        if self._fleet.bringing_up:
            return True
        self._fleet.raise_for_services()
        output = await self._systemctl(["list-jobs", "--no-legend"], user)
        return bool(output[1].strip()) and "No jobs" not in output[1]

    async def _news_of(self, unit: str) -> None:
        """Return when the journal tells of the unit, or after a while."""
        journal = self._live.qemu.watcher.journal
        interval = self._fleet.scale.reply(LOOK)
        name = unit if "." in unit else f"{unit}.service"
        await self._call(_ignored(completes_before(lambda: journal.wait_for_entry(name), Deadline.after(interval))))

    async def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit, as ``systemctl show`` has them."""
        _, output = await self._systemctl(["--no-pager", "show", "--", unit], user)
        pairs = (line.partition("=") for line in output.splitlines() if "=" in line)
        return {name: value for name, _, value in pairs}

    async def require_unit_state(self, unit: str, state: str = "active", user: str | None = None) -> None:
        """Raise if a unit is in another state than the wanted one.

        Raises:
            WaitFailed: it is.
        """
        found = (await self._unit(unit, user)).active
        if found != state:
            raise WaitFailed(f"unit {unit} is {found}, and must be {state}", subject=self.name)

    async def systemctl(self, words: str, user: str | None = None) -> tuple[int, str]:
        """Run ``systemctl`` with these words, in a shell.

        Returns:
            The exit code and stdout; neither is checked.
        """
        if user is None:
            return await self.execute(f"systemctl {words}")
        return await self.execute(f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {words}", user=user)

    async def start_job(self, unit: str, user: str | None = None) -> tuple[int, str]:
        """``systemctl start``; its outcome is not checked."""
        return await self.systemctl(f"start {unit}", user)

    async def stop_job(self, unit: str, user: str | None = None) -> tuple[int, str]:
        """``systemctl stop``; its outcome is not checked."""
        return await self.systemctl(f"stop {unit}", user)

    async def _unit(self, unit: str, user: str | None) -> UnitStatus:
        words = ["show", "-p", ",".join(("Id", *PROPERTIES)), "--", unit]
        _, output = await self._systemctl(words, user)
        return (parse_show(output) or parse_show("Id="))[0]

    async def _systemctl(self, words: list[str], user: str | None) -> tuple[int, str]:
        """Through the guest agent: it needs no network, and costs an emulated guest less."""
        live = await self._up()
        command = ["systemctl", *words] if user is None else user_systemctl(words)
        result = await self._call(live.agent.exec(command, deadline=self._deadline(WAIT), user=user or "root"))
        return result.code, result.text

    def _unit_failed(self, what: str, journal: int, unit: str) -> WaitFailed:
        lines = [str(entry) for entry in self.journal(unit=unit)[-10:]] or [
            str(entry) for entry in self._journal_since(journal)
        ]
        hint = f"orchestrator -n {self._fleet.session.paths.name} logs {self.name}"
        return WaitFailed(f"{what} in {self.name}", evidence=lines, hint=hint, subject=self.name)

    # ------------------------------------------------------------------ commands again and again

    async def wait_until_succeeds(self, command: Command, timeout: Seconds | None = WAIT) -> str:
        """Run a command again and again until it exits with 0.

        Returns:
            stdout of the last try.

        Raises:
            WaitFailed: the limit passed; with the last try's outputs.
        """
        return await self._until(command, timeout, lambda code: code == 0, "fails")

    async def wait_until_fails(self, command: Command, timeout: Seconds | None = WAIT) -> str:
        """Run a command again and again until it does not exit with 0; see `wait_until_succeeds`."""
        return await self._until(command, timeout, lambda code: code != 0, "succeeds")

    async def _until(self, command: Command, timeout: Seconds | None, wanted: Callable[[int], bool], still: str) -> str:
        await self._up()
        deadline = self._deadline(timeout)
        tries = 0
        while True:
            left = deadline.left / self._fleet.scale.limit(1.0) if deadline.left != FOREVER else None
            try:
                result, journal = await self._shell(command, left, explain=lambda _: deadline.expired)
            except MachineError:
                # A guest that reboots takes its connections down before QEMU tells of it.
                if not self._power.booted or deadline.expired:
                    raise
                await pause(self._fleet.scale.reply(AGAIN), deadline)
                continue
            tries += 1
            if wanted(result.rc) and not (result.rc == 124 and deadline.expired):
                return result.out
            if deadline.expired:
                what = f"`{result.command}` still {still} in {self.name} after {deadline} ({tries} tries)"
                failed = CommandFailed(what, result, journal, machine=self.name, hint="")
                raise WaitFailed(what, why=f"the last: {ended_text(result)}", evidence=failed.evidence)
            await pause(self._fleet.scale.reply(AGAIN), deadline)

    # ------------------------------------------------------------------ files, ports, sockets

    async def wait_for_open_port(
        self, port: int | str, addr: str = "localhost", timeout: Seconds | None = WAIT
    ) -> None:
        """Wait until a TCP port takes connections, made from this machine.

        Args:
            addr: a name or an address, as the machine resolves it.

        Raises:
            WaitFailed: the limit passed.
        """
        number = _port(port)
        loop = port_loop(number, addr, opened=True, interval=PROBE)
        await self._loop(loop, timeout, f"port {number} of {addr} takes no connection")

    async def wait_for_closed_port(
        self, port: int | str, addr: str = "localhost", timeout: Seconds | None = WAIT
    ) -> None:
        """Wait until a TCP port takes no connection any more; see `wait_for_open_port`."""
        number = _port(port)
        loop = port_loop(number, addr, opened=False, interval=PROBE)
        await self._loop(loop, timeout, f"port {number} of {addr} still takes connections")

    async def wait_for_file(self, path: str, timeout: Seconds | None = WAIT) -> None:
        """Wait until a file or folder is there.

        Args:
            path: the shell expands it: patterns, ``~``; relative to /tmp.

        Raises:
            WaitFailed: the limit passed.
        """
        await self._loop(file_loop(path, interval=PROBE), timeout, f"{path} does not exist")

    async def wait_for_open_unix_socket(
        self, path: str, is_datagram: bool = False, timeout: Seconds | None = WAIT
    ) -> None:
        """Wait until somebody listens on a UNIX socket.

        Raises:
            WaitFailed: the limit passed.
        """
        loop = unix_socket_loop(path, datagram=is_datagram, interval=PROBE)
        await self._loop(loop, timeout, f"nobody listens on {path}")

    async def _loop(self, script: str, timeout: Seconds | None, what: str) -> None:
        """A loop in the guest, which sees what it waits for at once."""
        await self._up()
        deadline = self._deadline(timeout)
        result, _ = await self._shell(script, timeout, explain=lambda code: code not in (0, 124))
        if result.rc != 0:
            why = result.err.strip() if result.rc != 124 else ""
            raise WaitFailed(f"{what} in {self.name} after {deadline}", why=why, subject=self.name)

    # ------------------------------------------------------------------ http, sql

    async def wait_for_http(
        self, url: str, *, status: int = 200, contains: str = "", timeout: Seconds | None = WAIT
    ) -> str:
        """Wait until a GET, made from this machine, is answered as wanted. Redirects are not followed.

        Args:
            url: ``http://`` or ``https://`` (any certificate is taken).
            contains: a text of the body.

        Returns:
            The body, at most 1 MiB.

        Raises:
            UsageError: the URL is none.
            WaitFailed: the limit passed; with the last answer.
        """
        try:
            parsed = parse_url(url)
        except ValueError as error:
            raise UsageError(f"{url!r} is no URL", why=str(error)) from error
        live = await self._up()
        deadline, last = self._deadline(timeout), "no answer"
        tls = tls_context(None, verify=False) if parsed.scheme == "https" else None
        while True:
            ssh = await self._call(live.ssh())
            limit = deadline.earlier(self._fleet.scale.limit(HTTP_TRY))

            def request(ssh=ssh, limit=limit) -> HttpAnswer:  # type: ignore[no-untyped-def]
                return get(ssh, parsed, limit, lambda _: True, tls)

            try:
                with timed("http", self.name, "GET <url>") as outcome:
                    answer = await self._call(in_thread(request))
                    outcome.text = str(answer.status)
                last = f"status {answer.status}: {(answer.body or '')[:200]}"
                if answer.status == status and contains in (answer.body or ""):
                    return answer.body or ""
            except (NoAnswerError, ConnectionError) as error:
                last = str(error)
            if deadline.expired:
                raise WaitFailed(f"{url} is not answered as wanted after {deadline}", why=last, subject=self.name)
            await pause(self._fleet.scale.reply(AGAIN), deadline)

    async def wait_for_sql(
        self,
        query: str,
        *,
        database: str = "postgres",
        user: str = "postgres",
        matches: str = "",
        timeout: Seconds | None = WAIT,
    ) -> str:
        """Wait until PostgreSQL of this machine answers a query, as psql's unaligned text.

        Args:
            user: of the machine and of the database.
            matches: a regular expression that the answer must contain (`re.search`).

        Returns:
            The answer without its last newline.

        Raises:
            WaitFailed: the limit passed; with the last answer.
        """
        await self._up()
        deadline = self._deadline(timeout)
        while True:
            words = ["psql", "-XtAd", database, "-v", "ON_ERROR_STOP=1", "-c", query]
            result = await self.run(words, user=user, timeout=max(deadline.left, 1) / self._fleet.scale.limit(1.0))
            if result.rc == 0 and re.search(matches, result.out):
                return result.out.rstrip("\n")
            if deadline.expired:
                why = (result.err or result.out).strip()
                raise WaitFailed(f"the query is not answered as wanted after {deadline}", why=why, subject=self.name)
            await pause(self._fleet.scale.reply(AGAIN), deadline)

    # ------------------------------------------------------------------ console and journal

    async def wait_for_console_text(self, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait until the console shows a text.

        Args:
            regex: for `re.search`, without flags, over all that this call has not consumed before.

        Returns:
            What matched. What is behind it is left for the next call.

        Raises:
            WaitFailed: the limit passed; with the last lines.
        """
        pattern = _compiled(regex)
        if self._starts_itself and not self._power.booted:
            await self._fleet.start(self.name)
        deadline = self._deadline(timeout)

        def late() -> WaitFailed:
            lines = self._console_since(self._console_read).splitlines()[-10:]
            return WaitFailed(f"the console of {self.name} shows no /{regex}/ after {deadline}", evidence=lines)

        async with deadline.enforce(late):
            return await self._call(self._console_text(pattern))

    async def _console_text(self, pattern: re.Pattern[str]) -> str:
        while True:
            text = self._console_since(self._console_read)
            found = await in_thread(pattern.search, text)
            if found is not None:
                raw = self._live.paths.serial_log.read_bytes()[self._console_read :]
                # Carriage returns are not in the text: count up to the end of the match without them.
                wanted, place = len(text[: found.end()].encode()), 0
                while wanted and place < len(raw):
                    wanted -= raw[place] != 13
                    place += 1
                self._console_read += place
                return found[0]
            await asyncio.sleep(PROBE)

    def journal(self, *, since: float | None = None, unit: str | None = None) -> list[JournalEntry]:
        """What the machine's journal has told so far, oldest first; of the last 4 MiB of its copy on this host.

        Args:
            since: seconds since the epoch, by the machine's clock.
            unit: only the lines of, and about, this unit; without a suffix a service.
        """
        name = None if unit is None else unit if "." in unit else f"{unit}.service"
        found = self._journal_since(0, 1 << 30)
        return [e for e in found if (since is None or e.at >= since) and (name is None or e.unit == name)]

    def console_text(self) -> str:
        """What the console has shown since the machine started, at most the last 4 MiB."""
        return self._console_since(0)


def _port(port: int | str) -> int:
    try:
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise UsageError(f"{port!r} is no port", why="a port is a number from 1 to 65535")
    return number


def _compiled(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise UsageError(f"/{regex}/ is no regular expression", why=str(error)) from error


async def _ignored(work: Awaitable[object]) -> None:
    await work
