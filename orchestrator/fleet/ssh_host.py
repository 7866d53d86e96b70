"""A host that is reached by ssh: it joins through a tunnel, and gets what its cells need."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.errors import HostError
from orchestrator.fleet.hosts import Joined, Tell, worker
from orchestrator.fleet.orders import Times
from orchestrator.fleet.ssh_link import SshLink, connected
from orchestrator.fleet.travel import EXCLUDED, Project
from orchestrator.images.cache import ENTRY_FILE
from orchestrator.tasks import Later

ESSENTIAL = ("summary.json", "junit.xml", "events.jsonl", "index.html")  # of each run folder, whatever its outcome
LOOKING = 120.0  # seconds for doctor over there
# The same Python as here where that is one over there too, as in a shared home; else the first on PATH.
PYTHON = 'p=$1; shift; [ -x "$p" ] || p=python3; exec "$p" "$@"'
# Whether the project is there; it is used now, and those that were not used for two weeks go.
HAS_PROJECT = """
[ ! -e "$1" ] || touch "$1"
find "${1%/*}" -maxdepth 1 -name '*.complete' -mtime +14 \\
    -exec sh -c 'rm -rf "${1%.complete}" "$1"' sh {} \\; 2>/dev/null
[ -e "$1" ]"""


@dataclass(frozen=True, slots=True)
class Luggage:
    """What every host gets, and is asked.

    Attributes:
        images: entries of our cache that it should have.
        python: the Python over there; empty: see `PYTHON`.
        doctor: the topology to ask its `doctor` about; None where cells run commands of their own.
    """

    project: Project
    images: Sequence[Path] = ()
    python: str = ""
    doctor: Path | None = None


class SshHost:
    """A host of ``--hosts``.

    Args:
        name: as ssh takes it.
        scratch: a folder with a short path, for sockets.
        log: takes what ssh and the worker say.
    """

    def __init__(self, name: str, scratch: Path, log: Path, luggage: Luggage) -> None:
        self.name = name
        self._scratch = scratch
        self._log = log
        self._luggage = luggage
        self._link: SshLink | None = None
        self._project_there = ""
        self._cache = ""

    @property
    def link(self) -> SshLink:
        if self._link is None:
            raise HostError(f"{self.name} is not connected")
        return self._link

    def python(self, words: Sequence[str]) -> list[str]:
        """A command of Python over there."""
        return ["sh", "-c", PYTHON, "sh", self._luggage.python or sys.executable, *words]

    @asynccontextmanager
    async def join(self, invitation: Later[dict[str, Any]], times: Times) -> AsyncIterator[Joined]:
        async with connected(self.name, self._scratch, self._log) as link:
            self._link = link
            try:
                told = await invitation.wait()
                protocol, _, port = told["scheduler"].rpartition(":")
                back = await link.forward_back(int(port))
                listen = await self._free_port()
                here = await link.forward(listen)
                mine: Later[dict[str, Any]] = Later()
                mine.set(
                    {
                        **told,
                        "scheduler": f"{protocol}:{back}",
                        "listen": f"127.0.0.1:{listen}",
                        "contact": f"{protocol}:{here}",
                    }
                )
                argv = link.command(self.python(["-m", "orchestrator.fleet.worker"]))
                with self._log.open("ab") as log:
                    async with worker(argv, self.name, mine, times, log=log, errors=self._log) as joined:
                        self._cache = joined.cache
                        self._project_there = f"{joined.state}/fleet/projects/{self._luggage.project.key}"
                        yield replace(joined, prepare=self._prepare)
            finally:
                self._link = None

    async def _free_port(self) -> int:
        code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
        done = await self.link.run(self.python(["-c", code]))
        return int(done.stdout)

    async def _prepare(self, tell: Tell) -> None:
        """The project, the images, and whether the host is fit."""
        await self._push_project(tell)
        for entry in self._luggage.images:
            await self._push_image(entry, tell)
        if self._luggage.doctor is not None:
            await self._ask_doctor(self.there(self._luggage.doctor))

    async def _push_project(self, tell: Tell) -> None:
        link, there = self.link, self._project_there
        done = f"{there}.complete"
        if (await link.run(["sh", "-c", HAS_PROJECT, "sh", done], check=False)).code == 0:
            return
        for part, name in zip(self._luggage.project.parts, self._luggage.project.names, strict=True):
            tell(f"gets {name}")
            await link.push(part, there if name == "." else f"{there}/{name}", tell, EXCLUDED)
        await link.run(["touch", done])

    async def _push_image(self, entry: Path, tell: Tell) -> None:
        """An entry of the cache, under the name that it gets when it is whole."""
        link, cache = self.link, f"{self._cache}/images"
        if (await link.run(["test", "-e", f"{cache}/{entry.name}/{ENTRY_FILE}"], check=False)).code == 0:
            return
        arriving = f"{cache}/.arriving-{entry.name}"
        await link.push(entry, arriving, lambda text: tell(f"gets image {entry.name}: {text}"), ("/pins", "/last-used"))
        # Another one may have been faster: then its entry stays, and ours goes.
        script = 'mv -T "$1" "$2" 2>/dev/null || { [ -e "$2/$3" ] && rm -rf "$1"; }'
        await link.run(["sh", "-c", script, "sh", arriving, f"{cache}/{entry.name}", ENTRY_FILE])

    async def _ask_doctor(self, topology: str) -> None:
        words = ["-m", "orchestrator", "doctor", "--json", "--file", topology]
        done = await self.link.run(self.python(words), LOOKING, check=False)
        try:
            items = json.loads(done.stdout)["items"]
        except (ValueError, KeyError, TypeError) as error:
            raise HostError(f"doctor of {self.name} gave no answer", evidence=done.stderr.splitlines()[-3:]) from error
        missing = [f"{one['name']}: {one['text']}" for one in items if one["state"] == "missing"]
        if missing:
            raise HostError(f"{self.name} lacks something", why="; ".join(missing), hint=f"doctor on {self.name}")

    def there(self, path: Path) -> str:
        root = self._luggage.project.root
        return str(Path(self._project_there) / path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def folder(self, run_folder: Path, attempt: str) -> Path:  # noqa: ARG002 - it is not seen there
        return Path("cells") / attempt

    async def bring(self, folder: str, home: Path, *, whole: bool) -> None:
        await self.link.pull(folder, home, () if whole else ESSENTIAL)

    async def discard(self, folder: str) -> None:
        await self.link.run(["rm", "-rf", "--", folder])
