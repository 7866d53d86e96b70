"""Installing packages with Debian's apt. The decisions are pure functions; `Apt` runs the programs, as root."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import HostError
from orchestrator.host.look import System, find
from orchestrator.host.needs import SERVICES
from orchestrator.process import Completed, run, run_shown
from orchestrator.text import duration_text
from orchestrator.vm.accelerator import MINIMUM_QEMU

LOCK_LIMIT = 300  # seconds to wait for another apt or dpkg
BACKPORTS = Path("/etc/apt/sources.list.d/orchestrator-backports.sources")
_BETWEEN = 5.0  # seconds between two attempts to read the package lists
_BACKPORTED = "bookworm"  # the one release whose own QEMU is too old, and whose backports have a new one
_LAST_LINES = 8
# What a failure says → what to do about it.
_HINTS = (
    (r"No space left on device", "free some disk space"),
    (r"Could not get lock|is another process using it", "another program installs packages; wait until it is done"),
    (
        r"NO_PUBKEY|EXPKEYSIG|is not signed",
        "the mirror's key is unknown or too old: apt-get install debian-archive-keyring",
    ),
    (r"404  Not Found", "the mirror no longer has what its lists say: apt-get update, then again"),
    (
        r"Could not resolve|Temporary failure in name resolution|Could not connect|timed out|unreachable|refused",
        "the mirror named above cannot be reached: check the network, a proxy, or choose another mirror",
    ),
)


def major(version: str) -> int:
    """The major version in a Debian version, 0 when there is none. Pure.

    >>> major("1:10.0.2+ds-2"), major("(none)")
    (10, 0)
    """
    found = re.match(r"(?:\d+:)?(\d+)", version)
    return int(found[1]) if found else 0


def qemu_source(candidate: str, madison: str) -> list[str] | None:
    """The options of apt-get that give a new enough QEMU; None where there is none. Pure.

    Args:
        candidate: apt's own choice of version.
        madison: the output of ``apt-cache madison qemu-system-x86``.
    """
    if major(candidate) >= MINIMUM_QEMU[0]:
        return []
    for line in madison.splitlines():
        parts = [part.strip() for part in line.split("|")]
        suite = re.search(r"([a-z]+-backports)/", parts[2]) if len(parts) == 3 else None
        if suite and major(parts[1]) >= MINIMUM_QEMU[0]:
            return ["-t", suite[1]]
    return None


def backports_source(suite: str, madison: str) -> str:
    """A file of package sources: the backports of a release, from the mirror that this host uses for it. Pure."""
    mirrors = re.findall(rf"\| *(https?://\S+) {suite}/main", madison)
    mirror = next((one for one in mirrors if "security" not in one), "http://deb.debian.org/debian")
    return (
        "# Added for QEMU; apt takes nothing from here by itself.\n"
        f"Types: deb\nURIs: {mirror}\nSuites: {suite}-backports\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )


def has_old_qemu(system: System) -> bool:
    """Whether the release's own QEMU is too old and its backports have a new one. Pure."""
    return system.id == "debian" and system.version == "12"


def commands(system: System, packages: Sequence[str]) -> list[str]:
    """What an administrator types for the same. Pure."""
    backported = [package for package in packages if has_old_qemu(system) and package.startswith("qemu-")]
    plain = [package for package in packages if package not in backported]
    units = [unit for package in packages for unit in SERVICES.get(package, ())]
    lines = [f"systemctl mask {' '.join(units)}   # unless they are used here"] if units else []
    if backported:
        source = f"deb http://deb.debian.org/debian {_BACKPORTED}-backports main"
        lines.append(f"echo '{source}' > /etc/apt/sources.list.d/backports.list")
    lines.append("apt-get update")
    if plain:
        lines.append(f"apt-get install --no-install-recommends {' '.join(plain)}")
    if backported:
        lines.append(f"apt-get install --no-install-recommends -t {_BACKPORTED}-backports {' '.join(backported)}")
    return lines


@dataclass(frozen=True)
class Apt:
    """apt-get as root.

    Attributes:
        tell: gets a line of progress.
        on_line: gets each line of output.
        deadline: of the whole installation.
        backports: the file that is written where QEMU comes from backports.
    """

    system: System
    deadline: Deadline
    tell: Callable[[str], object]
    on_line: Callable[[str], object]
    backports: Path = BACKPORTS

    async def install(self, packages: Sequence[str]) -> None:
        """Install Debian packages; services that come with them do not start.

        Raises:
            HostError: a step failed, or no new enough QEMU can be had.
        """
        qemu = [package for package in packages if package.startswith("qemu-")]
        others = [package for package in packages if package not in qemu]
        # One unreachable source of many must not stop us: what is missing shows when it is installed.
        if (await self._update()).code:
            self.tell("apt-get update failed; going on with the package lists that are there")
        await self._keep_services_off(others)
        if others:
            await self._step(["install", "--no-install-recommends", *others])
        if qemu:
            source = await self._find_qemu()
            await self._step(["install", "--no-install-recommends", *source, *qemu])

    async def _find_qemu(self) -> list[str]:
        candidate, madison = await self._qemu_versions()
        source = qemu_source(candidate, madison)
        if source is None and has_old_qemu(self.system) and not self.backports.exists():
            self.tell(f"QEMU {MINIMUM_QEMU[0]} comes from {_BACKPORTED}-backports: adding {self.backports}")
            self.backports.write_text(backports_source(_BACKPORTED, madison), encoding="utf-8")
            await self._update()
            source = qemu_source(*await self._qemu_versions())
        if source is None:
            raise HostError(
                f"the package sources of {self.system.name} offer no QEMU {MINIMUM_QEMU[0]}",
                why=f"apt would install {candidate or 'none'}",
                hint="a newer release, or a QEMU of your own on PATH; apt-cache policy qemu-system-x86 shows more",
            )
        return source

    async def _qemu_versions(self) -> tuple[str, str]:
        policy = await self._ask(["apt-cache", "policy", "qemu-system-x86"])
        found = re.search(r"^ *Candidate: *(\S+)", policy, re.MULTILINE)
        return (found[1] if found else ""), await self._ask(["apt-cache", "madison", "qemu-system-x86"])

    async def _ask(self, argv: list[str]) -> str:
        environment = {**os.environ, "LC_ALL": "C"}
        return (await run(argv, deadline=self.deadline.earlier(60), env=environment, check=False)).stdout

    async def _update(self) -> Completed:
        """Read the package lists. apt waits for dpkg's lock by itself, but not for that of the lists."""
        limit = self.deadline.earlier(LOCK_LIMIT)
        while True:
            done = await self._run(["update"])
            locked = "Could not get lock" in done.stdout + done.stderr
            if not locked or limit.expired:
                return done
            await pause(_BETWEEN, limit)

    async def _keep_services_off(self, packages: Sequence[str]) -> None:
        """Mask services that are about to be installed. A unit that is there already is somebody's own."""
        if find("systemctl") is None:
            return
        for unit in (unit for package in packages for unit in SERVICES.get(package, ())):
            known = await run(["systemctl", "cat", unit], deadline=self.deadline.earlier(60), check=False)
            if known.code:
                await run(["systemctl", "mask", unit], deadline=self.deadline.earlier(60))
                self.tell(f"{unit} is masked: its programs are wanted, not the service; systemctl unmask allows it")

    async def _step(self, words: list[str]) -> None:
        done = await self._run(words)
        if not done.code:
            return
        output = done.stdout + done.stderr
        raise HostError(
            f"apt-get {words[0]} failed (exit code {done.code})",
            evidence=[" ".join(done.argv), *[line for line in output.splitlines() if line.strip()][-_LAST_LINES:]],
            hint=next((hint for pattern, hint in _HINTS if re.search(pattern, output)), "try the command by hand"),
        )

    async def _run(self, words: list[str]) -> Completed:
        began = self.deadline.elapsed
        self.tell(f"apt-get {' '.join(words)}")
        argv = ["apt-get", "-y", "-q", "-o", f"DPkg::Lock::Timeout={LOCK_LIMIT}", *words]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        done = await run_shown(argv, self.on_line, deadline=self.deadline, env=environment)
        if not done.code:
            self.tell(f"done in {duration_text(self.deadline.elapsed - began)}")
        return done
