"""Injects faults into real environments and judges what comes of them; see scripts/chaos."""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "vm"))

from chaos_faults import FAULTS as OTHERS  # noqa: E402
from chaos_faults import NAME, UNBEGUN, Fault, Scene, build_was_killed  # noqa: E402
from chaos_users import USERS  # noqa: E402
from host import OTHERS_RAM, RAM, Done, Host, collected  # noqa: E402

TOPOLOGY = ROOT / "tests" / "vm" / "orchestrator.toml"
FAULTS = (*OTHERS, *USERS)
CODES = {0, 1, 2, 3, 4, 5, 124, 129, 130, 143, -9, *UNBEGUN}  # -9: we killed it
BUILD = "build SIGKILL"
UP_LIMIT, LOOK_LIMIT, DOWN_LIMIT = 150.0, 60.0, 60.0  # seconds, as `Fault.within` on a quiet host


@dataclass
class Record:
    """What became of one fault."""

    number: int
    kind: str
    moment: float
    code: int | None = None
    seconds: float = 0.0
    outcome: str = ""
    defects: list[str] = field(default_factory=list)

    def line(self) -> str:
        told = "; ".join(self.defects) if self.defects else self.outcome
        when = f"at {self.moment:.2f} s: exit {self.code} after {self.seconds:.1f} s"
        return f"{self.number:4d}  {self.kind} {when}: {told}"


class Trial:
    """One fault from the environment before it to nothing left after it."""

    def __init__(self, host: Host, fault: Fault, record: Record, dice: random.Random, patience: float) -> None:
        self.scene = Scene(host, dice)
        self.patience = patience
        self.host, self.fault, self.record = host, fault, record

    def play(self) -> None:
        fault, host = self.fault, self.host
        if fault.up and not self._must("up", host.run("up", limit=UP_LIMIT * self.patience), {0}):
            return
        with collected():
            if fault.command:
                self._during()
            else:
                self._between()
        for other in self.scene.others:
            with collected(other):
                own = "exec" in other.argv  # its exit code is the guest's
                codes = set(range(-9, 256)) if own else CODES
                self._judge("the other command", other.wait(200 * self.patience), codes, "")
        for undo in self.scene.undo:
            undo()
        folder = host.latest
        looked = host.run("status", limit=LOOK_LIMIT * self.patience)
        self._judge("status", looked, {0, 2, 3}, "")
        self._must("down", host.run("down", limit=DOWN_LIMIT * self.patience), {0})
        self._must_be(not host.leftovers(), "left behind: " + ", ".join(host.leftovers()[:3]))
        if folder.is_dir() and fault.name != "run folder removed":
            self._must_be((folder / "summary.json").exists(), f"{folder.name} has no summary.json")

    def _during(self) -> None:
        scene, fault, record = self.scene, self.fault, self.record
        scene.running = self.host.start(*fault.command, before=fault.before(scene))
        with collected(scene.running):
            time.sleep(record.moment)
            fault.inject(scene)
            try:
                done = scene.running.wait(fault.within * self.patience)
            finally:
                for undo in scene.undo:
                    undo()
        self._ended(done)

    def _between(self) -> None:
        time.sleep(min(self.record.moment, 1.0))
        self.fault.inject(self.scene)
        looked = self.host.run("status", limit=LOOK_LIMIT * self.patience)
        self._judge("status at once", looked, {0, 2, 3}, "")
        self._ended(self.host.run("up", limit=self.fault.within * self.patience))

    def _ended(self, done: Done) -> None:
        record, fault = self.record, self.fault
        record.code, record.seconds = done.code, done.seconds
        told = self._judge("the command", done, fault.codes, fault.cause)
        killed = done.code < 0
        record.outcome = "survived" if done.code == 0 else "killed, reclaimed" if killed else f"explained: {told}"

    def _judge(self, who: str, done: Done, codes: set[int] | frozenset[int], cause: str) -> str:
        """Note what is wrong with how a command ended; its error line."""
        text = done.stderr + done.stdout
        error = next((line for line in text.splitlines() if "error: " in line), "")
        self._must_be(done.code in codes, f"{who} ended with {done.code}: {error or text[-200:]}")
        self._must_be("Traceback (most recent call last)" not in text, f"{who} shows a traceback: {text[-400:]}")
        if done.code > 0 and cause:
            self._must_be(re.search(cause, text, re.IGNORECASE) is not None, f"{who} does not name the cause: {error}")
        return error.partition("error: ")[2][:120]

    def _must(self, who: str, done: Done, codes: set[int]) -> bool:
        before = len(self.record.defects)
        self._judge(who, done, codes, "")
        return len(self.record.defects) == before

    def _must_be(self, true: bool, otherwise: str) -> None:
        if not true:
            self.record.defects.append(otherwise)


def build_trial(host: Host, record: Record, dice: random.Random) -> None:
    """A build that is killed; the next one of the same must come through and nothing half made be used."""
    folder, process = build_was_killed(host, dice, ROOT)
    time.sleep(record.moment)
    process.kill()
    record.code = process.wait()
    began = time.monotonic()
    done = host.run("--file", str(folder / "pair.toml"), "images", "build", limit=300)
    record.seconds = time.monotonic() - began
    if done.code != 0:
        record.defects.append(f"the next build ended with {done.code}: {done.stderr[-300:]}")
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if "orch-" in line]
    if mounts:
        record.defects.append(f"left mounted: {mounts}")
    record.outcome = "killed, reclaimed"
    shutil.rmtree(folder)


def chosen(kinds: str, count: int, dice: random.Random) -> list[str]:
    """So many kinds, each as often as the others, in a random order."""
    names = [fault.name for fault in FAULTS] + [BUILD]
    wanted = [name for name in names if re.search(kinds, name)]
    if not wanted:
        sys.exit(f"chaos: no kind matches {kinds!r}; kinds are: {', '.join(names)}")
    found: list[str] = []
    while len(found) < count:
        found += dice.sample(wanted, len(wanted))
    return found[:count]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the dice [the time]")
    parser.add_argument("--count", type=int, default=len(FAULTS) + 1, metavar="N", help="faults [one of each kind]")
    parser.add_argument("--kinds", default="", metavar="REGEX", help="only these kinds")
    parser.add_argument("--minutes", type=float, default=0, metavar="M", help="no fault is begun after so many minutes")
    parser.add_argument("--patience", type=float, default=1.0, metavar="F", help="limits times F, on a busy host")
    parser.add_argument("--record", type=Path, metavar="FILE", help="a JSON line for each fault, appended")
    arguments = parser.parse_args()
    dice = random.Random(arguments.seed)
    faults = {fault.name: fault for fault in FAULTS}
    kinds = chosen(arguments.kinds, arguments.count, dice)
    sys.stderr.write(f"seed {arguments.seed}, {len(kinds)} faults of {len(set(kinds))} kinds\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an interrupt does, end what was started
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    host = Host(root, TOPOLOGY)
    records: list[Record] = []
    began = time.monotonic()
    try:
        host.run("images", "build", limit=3600).expect(0)
        host.run("up", limit=UP_LIMIT * arguments.patience).expect(0)  # the saved state that most trials start from
        host.run("down", limit=DOWN_LIMIT).expect(0)
        for number, kind in enumerate(kinds, 1):
            if arguments.minutes and time.monotonic() - began > arguments.minutes * 60:
                break
            records.append(one(number, kind, faults, host, dice, arguments.patience))
            sys.stderr.write(records[-1].line() + "\n")
            if arguments.record:
                with arguments.record.open("a") as file:
                    file.write(json.dumps({"seed": arguments.seed, **records[-1].__dict__}) + "\n")
    finally:
        host.close()
        if not OTHERS_RAM:
            shutil.rmtree(RAM, ignore_errors=True)
        if not any(record.defects for record in records):
            shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write(table(records, time.monotonic() - began))
    return 1 if any(record.defects for record in records) else 0


def one(number: int, kind: str, faults: dict[str, Fault], host: Host, dice: random.Random, patience: float) -> Record:
    """Play one fault; whatever it leaves is cleaned up before the next."""
    moments = 4.0 if kind == BUILD else faults[kind].moments
    record = Record(number, kind, round(dice.uniform(0, moments), 3))
    try:
        if kind == BUILD:
            build_trial(host, record, dice)
        else:
            Trial(host, faults[kind], record, dice, patience).play()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        record.defects.append(str(error)[:1500])
    if record.defects:
        clean(host)
    return record


def clean(host: Host) -> None:
    """After a defect: everything of ours ended by its pid, so that the next trial is judged alone."""
    host.close()
    host.runtime.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(host.root / "state" / "environments" / NAME, ignore_errors=True)


def table(records: list[Record], seconds: float) -> str:
    """Kinds and outcomes, as Markdown."""
    lines = [
        f"{len(records)} faults of {len({r.kind for r in records})} kinds in {seconds / 60:.0f} min",
        "",
        "| fault | times | survived | explained | reclaimed | defects |",
        "|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(record.kind for record in sorted(records, key=lambda one: one.kind)):
        mine = [record for record in records if record.kind == kind]
        counted = Counter("defect" if one.defects else one.outcome.split(":")[0].split(",")[0] for one in mine)
        numbers = " | ".join(str(counted[word]) for word in ("survived", "explained", "killed", "defect"))
        lines.append(f"| {kind} | {len(mine)} | {numbers} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
