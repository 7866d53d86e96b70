"""What is known of an environment afterwards: its events, its run folder, the evidence of a test."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.driver.fleet import Fleet
from orchestrator.driver.machine import Machine
from orchestrator.driver.results import Moment, Seconds, seconds_of
from orchestrator.environment.evidence import collect_all
from orchestrator.environment.plan import Request
from orchestrator.environment.session import Session
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event, EventBus
from orchestrator.events.clock import monotonic_clock, utc_text
from orchestrator.tasks import run_all

EVIDENCE = 20.0  # seconds for the pictures of all machines, before scaling


class Records:
    """What is known of an environment afterwards."""

    _request: Request
    _bus: EventBus
    _events: deque[Event]
    _joined: bool

    @property
    def _whole(self) -> Fleet:
        raise NotImplementedError

    @property
    def _session(self) -> Session:
        return self._whole.session

    @property
    def variant(self) -> str:
        """The variant of the topology; empty where the file has none."""
        return self._request.topology.variant

    @property
    def joined(self) -> bool:
        """Whether its machines ran before it was opened, so that nobody knows what was done in them."""
        return self._joined

    @property
    def events(self) -> list[Event]:
        """What happened so far, oldest first; the last 20,000. docs/events.md has the kinds."""
        return list(self._events)

    @property
    def artifacts(self) -> Path:
        """The run folder of this session: events, logs, screenshots, and what tests leave there."""
        return self._session.run_folder

    def record(self, event: Event) -> None:
        """Add an event, such as `TestBegan` or `TestEnded` of `orchestrator.events.suite`: the reports show it.

        Any thread may do it.
        """
        self._bus.emit(event)

    def moment(self) -> Moment:
        """Now, for `evidence`. What machines write gets to this host some tenths of a second later."""
        machines = self._whole.machines.values()
        return Moment(
            at=monotonic_clock(),
            journals={each.name: each._journal_size() for each in machines},
            consoles={each.name: each._console_size() for each in machines},
        )

    async def evidence(
        self, folder: str | Path, since: Moment | None = None, timeout: Seconds = EVIDENCE
    ) -> list[Path]:
        """Write what may explain a failure: a picture of each display, the journals, consoles and events.

        What cannot be had, as of a machine that is off, is left out.

        Args:
            folder: relative to the run folder; made where it is missing.
            since: of `moment`: journals, consoles and events begin there. None: at their beginning.
            timeout: seconds for all pictures on a host with KVM; a slower host has more.

        Returns:
            The files that were written.
        """
        whole, target = self._whole, self.artifacts / folder
        target.mkdir(parents=True, exist_ok=True)
        deadline = Deadline.after(whole.scale.reply(seconds_of(timeout)))
        pictures = {target / f"{name}.png": machine for name, machine in whole.machines.items()}
        await run_all(*(_picture(machine, path, deadline) for path, machine in pictures.items()))
        texts = {}
        for name, machine in whole.machines.items():
            texts[target / f"{name}-journal.txt"] = _journal(machine, since)
            texts[target / f"{name}-console.txt"] = machine._console_since(since.consoles.get(name, 0) if since else 0)
        events = [event for event in self.events if since is None or event.at >= since.at]
        texts[target / "events.jsonl"] = "".join(f"{event.as_json()}\n" for event in events)
        for path, text in texts.items():
            if text:
                path.write_text(text, encoding="utf-8", errors="backslashreplace")
        return [path for path in (*pictures, *texts) if path.exists()]

    async def collect(self, step: str = "collected") -> Path:
        """Bring home what the machines know now: screenshots, the logs of all services.

        Args:
            step: what the pictures show, part of their names.

        Returns:
            The run folder.
        """
        await collect_all(self._session, step)
        return self.artifacts


async def _picture(machine: Machine, path: Path, deadline: Deadline) -> None:
    with suppress(OrchestratorError, OSError):
        async with deadline.enforce():
            await machine.screenshot(path)


def _journal(machine: Machine, since: Moment | None) -> str:
    entries = machine._journal_since(since.journals.get(machine.name, 0) if since else 0, most=None)
    return "".join(f"{utc_text(entry.at)} {entry}\n" for entry in entries)
