"""Dask, from our side: a scheduler or a connection to one, in threads of its own. Nothing else here knows Dask.

A task is bound to the host that was chosen for it and is never run again by Dask. Its result is a small
dictionary; it is taken once, and then Dask forgets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import HostError
from orchestrator.fleet.settings import configure_dask
from orchestrator.threads import in_thread

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster
    from distributed.security import Security

NO_DASHBOARD = "127.0.0.1:0"  # its server is always started; it has no pages (`settings`)
KNOWN_FOR = 1.0  # seconds
CONNECTING = 30.0  # seconds until a scheduler answers
TLS_FIELDS = ("require_encryption", "tls_ca_file", "tls_worker_key", "tls_worker_cert")

Data = dict[str, Any]
Done = Callable[[Data | None, str], None]  # the result, or None and why there is none


@dataclass(frozen=True, slots=True)
class Task:
    """Something long that a host is to do.

    Attributes:
        function: of `orchestrator.fleet.tasks`; it gets ``data``, which is JSON-ready.
        key: names it for the engine: no other task has it.
        address: the host's.
        resources: what it takes of those that the host offers.
    """

    function: Callable[[Data], Awaitable[Data]]
    data: Data
    key: str
    address: str
    resources: Mapping[str, int]


class Engine(Protocol):
    """What carries orders to hosts and answers back. An address names the worker of a host."""

    async def start(self, told: Callable[[Data], None], topic: str) -> None:
        """Begin; ``told`` gets every message of the topic, on our loop."""

    @property
    def invitation(self) -> Data:
        """What a worker has to know to join."""

    def submit(self, task: Task, done: Done) -> None:
        """Let a host do something long; ``done`` is called once, on our loop."""

    async def call(self, address: str, function: Callable[..., Awaitable[Any]], *args: object, limit: Deadline) -> Any:
        """Ask a host something, beside what it does.

        Raises:
            HostError: no answer within the limit.
        """

    async def known(self) -> Mapping[str, str]:
        """The addresses of all hosts that have joined with what cells ask for, by their names."""

    async def close(self) -> None:
        """End it; hosts notice."""


class DaskEngine:
    """The engine; with an address, at a scheduler of somebody else.

    The scheduler of our own listens on 127.0.0.1, with keys that live as long as it does: other users of this
    host cannot join.
    """

    def __init__(self, address: str = "") -> None:
        self.address = address
        self._cluster: LocalCluster | None = None
        self._client: Client | None = None
        self._security: Security | None = None
        self._loop = asyncio.get_running_loop()
        self._futures: dict[str, Future] = {}
        self._asking = asyncio.Lock()
        self._known: Mapping[str, str] = {}
        self._known_at = float("-inf")

    @property
    def client(self) -> Client:
        if self._client is None:
            raise HostError("the scheduler was not started")
        return self._client

    async def start(self, told: Callable[[Data], None], topic: str) -> None:
        """As `Engine` has it.

        Raises:
            HostError: Dask is not installed, or the scheduler does not answer.
        """
        await self.connect()

        def received(event: tuple[float, Any]) -> None:
            self._loop.call_soon_threadsafe(told, event[1])

        await in_thread(self.client.subscribe_topic, topic, received)

    async def connect(self) -> None:
        """Start the scheduler, or connect to the one that is there; once.

        Raises:
            HostError: Dask is not installed, or the scheduler does not answer.
        """
        if self._client is None:
            configure_dask()
            await in_thread(self._connect)

    def _connect(self) -> None:
        from distributed import Client, LocalCluster
        from distributed.security import Security

        if self.address:
            try:
                self._client = Client(self.address, set_as_default=False, timeout=CONNECTING)
            except (OSError, ValueError, TypeError) as error:
                raise HostError(f"the scheduler {self.address} does not answer", why=str(error)) from error
            return
        self._security = Security.temporary()
        self._cluster = LocalCluster(
            n_workers=0,
            host="127.0.0.1",
            dashboard_address=NO_DASHBOARD,
            security=self._security,
            silence_logs=False,
        )
        self._client = Client(self._cluster, set_as_default=False)

    @property
    def invitation(self) -> Data:
        if self._cluster is None:
            return {}
        keys = {name: getattr(self._security, name) for name in TLS_FIELDS}
        return {"scheduler": self._cluster.scheduler_address, "security": keys, "listen": "127.0.0.1"}

    def submit(self, task: Task, done: Done) -> None:
        future = self.client.submit(
            task.function,
            task.data,
            key=task.key,
            workers=[task.address],
            allow_other_workers=False,
            resources=dict(task.resources),
            pure=False,
            retries=0,
        )
        self._futures[task.key] = future
        # In a thread of Dask's that all futures share: a host that is slow to give its result must not delay others.
        future.add_done_callback(lambda ended: self._take_soon(task.key, ended, done))

    def _take_soon(self, key: str, future: Future, done: Done) -> None:
        if not self._loop.is_closed():
            asyncio.run_coroutine_threadsafe(self._take(key, future, done), self._loop)

    async def _take(self, key: str, future: Future, done: Done) -> None:
        """Take the result and let Dask forget it, else it would run the task again one day."""
        result: Data | None = None
        why = ""
        try:
            result = await in_thread(future.result, CONNECTING)
        except Exception as error:  # noqa: BLE001 - of any kind: the host is lost, or a bug there
            why = f"{type(error).__name__}: {error}"[:500]
        finally:
            future.release()
            self._futures.pop(key, None)
        done(result, why)

    async def call(self, address: str, function: Callable[..., Awaitable[Any]], *args: object, limit: Deadline) -> Any:
        def ask() -> Any:
            return self.client.run(function, *args, workers=[address])[address]

        def too_late() -> HostError:
            return HostError(f"{address} gave no answer within {limit}")

        async with limit.enforce(too_late):
            try:
                return await in_thread(ask)
            except (OSError, KeyError, ValueError) as error:
                raise HostError(f"{address} gave no answer", why=f"{type(error).__name__}: {error}") from error

    async def known(self) -> Mapping[str, str]:
        async with self._asking:  # all hosts of a scheduler ask at once, and one answer is good for all
            if monotonic() - self._known_at >= KNOWN_FOR:
                info = await in_thread(self.client.scheduler_info, n_workers=-1)
                mine = ((address, one) for address, one in info["workers"].items() if "processors" in one["resources"])
                self._known = {str(one["name"]): address for address, one in mine}
                self._known_at = monotonic()
            return self._known

    async def close(self) -> None:
        def close() -> None:
            if self._client is not None:
                self._client.close(timeout=5)
            if self._cluster is not None:
                self._cluster.close(timeout=5)

        await in_thread(close)
