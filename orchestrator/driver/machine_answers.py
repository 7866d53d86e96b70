"""Waits for answers of servers, and for texts on the console."""

from __future__ import annotations

import asyncio
import re

from orchestrator.deadline import pause
from orchestrator.debug import timed
from orchestrator.driver.machine_base import read_from
from orchestrator.driver.machine_units import WAIT
from orchestrator.driver.machine_waits import AGAIN, PROBE, Waits
from orchestrator.driver.results import Seconds, WaitFailed
from orchestrator.errors import UsageError
from orchestrator.guest.tunnel import HttpAnswer, NoAnswerError, get, tls_context
from orchestrator.threads import in_thread
from orchestrator.topology.urls import parse_url

HTTP_TRY = 10.0  # seconds of one request, before scaling


class Answers(Waits):
    """Answers. All limits are seconds on a host with KVM; a slower host has more."""

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
            result, _ = await self._captured(words, deadline, user)
            if result.rc == 0 and re.search(matches, result.out):
                return result.out.rstrip("\n")
            if deadline.expired:
                why = (result.err or result.out).strip()
                raise WaitFailed(f"the query is not answered as wanted after {deadline}", why=why, subject=self.name)
            await pause(self._fleet.scale.reply(AGAIN), deadline)

    async def wait_for_console_text(self, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait until the console shows a text.

        Args:
            regex: for `re.search`, without flags, over all that this call has not consumed before.

        Returns:
            What matched. What is behind it is left for the next call.

        Raises:
            WaitFailed: the limit passed; with the last lines.
        """
        pattern = compiled(regex)
        await self._start_if_meant()
        deadline = self._deadline(timeout)

        def late() -> WaitFailed:
            lines = self._console_since(self._console_read).splitlines()[-10:]
            return WaitFailed(f"the console of {self.name} shows no /{regex}/ after {deadline}", evidence=lines)

        async with deadline.enforce(late):
            return await self._call(self._console_text(pattern))

    async def _console_text(self, pattern: re.Pattern[str]) -> str:
        seen = -1  # bytes of the log when it was last searched
        while True:
            size = self._console_size()
            if size != seen:
                seen = size
                begin, raw = read_from(self._live.paths.serial_log, self._console_read)
                text = raw.replace(b"\r", b"").decode("utf-8", "surrogateescape")
                found = await in_thread(pattern.search, text)
                if found is not None:
                    consumed = len(text[: found.end()].encode("utf-8", "surrogateescape"))
                    self._console_read = begin + place_of(raw, consumed)
                    return found[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            await asyncio.sleep(PROBE)


def place_of(raw: bytes, wanted: int) -> int:
    """How many bytes hold so many that are no carriage return. Pure.

    >>> place_of(b"a\\r\\nb", 2), place_of(b"ab", 0)
    (3, 0)
    """
    place = 0
    while wanted and place < len(raw):
        wanted -= raw[place] != 13
        place += 1
    return place


def compiled(regex: str) -> re.Pattern[str]:
    """A regular expression of the caller.

    Raises:
        UsageError: it is none.
    """
    try:
        return re.compile(regex)
    except re.error as error:
        raise UsageError(f"/{regex}/ is no regular expression", why=str(error)) from error
