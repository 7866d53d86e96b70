"""Brings the environment up, uses it and takes it down, many times over; see scripts/soak."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "vm"))

from host import OTHERS_RAM, RAM, Done, Host, edited_topology, second_phase  # noqa: E402

LIMIT = 600.0  # seconds for any command; what is slower is a defect


@dataclass
class Soak:
    """All rounds, and what was noticed."""

    host: Host
    record: Path | None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    defects: list[str] = field(default_factory=list)

    def play(self, number: int, *, cold: bool, grep: str) -> None:
        """One round; without ``grep`` no browser test."""
        kind = "up, cold" if cold else "up, warm"
        up = self._call(number, kind, "up", "--fresh" if cold else "--warm")
        if up.code == 0 and grep:
            self._call(number, "run, one test", "run", "--grep", grep)
        elif up.code == 0:
            self._call(number, "status --checks", "status", "--checks")
            for machine in ("server", "client"):
                self._call(number, "exec", "exec", machine, "--", "true")
        self._call(number, "down", "down")
        left = self.host.leftovers()
        if left:
            self.defects.append(f"round {number} left {len(left)}: {'; '.join(left[:3])}")

    def _call(self, number: int, kind: str, *words: str) -> Done:
        try:
            done = self.host.run(*words, limit=LIMIT)
        except AssertionError as late:
            self.defects.append(f"round {number}: {kind}: {str(late)[:500]}")
            return Done(words, -9, b"", "", LIMIT)
        self.seconds.setdefault(kind, []).append(done.seconds)
        if self.record:
            with self.record.open("a") as file:
                line = {"round": number, "kind": kind, "code": done.code, "seconds": round(done.seconds, 2)}
                file.write(json.dumps(line) + "\n")
        if done.code != 0:
            self.defects.append(f"round {number}: {kind} ended with {done.code}: {done.stderr[-500:]}")
        return done


def measured(host: Host) -> dict[str, int]:
    """What could leak, outside every process of ours: bytes in MiB, the rest by number."""
    loops = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True, check=False)
    return {
        "processes": len(host.processes()),
        "zombies": sum(_is_zombie(path) for path in Path("/proc").glob("[0-9]*/stat")),
        "open files of the host": int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
        "sockets and their folders": len(list(host.runtime.rglob("*"))),
        "state files": len([path for path in (host.root / "state").rglob("*") if path.is_file()]),
        "run folders": len([path for path in host.runs.glob("*") if path.is_dir() and not path.is_symlink()]),
        "MiB of run folders": _mebibytes(host.runs),
        "MiB of state": _mebibytes(host.root / "state"),
        "MiB of memory files": _mebibytes(RAM),
        "mounts": len(Path("/proc/mounts").read_text().splitlines()),
        "loop devices": len(loops.stdout.splitlines()),
        "files in the folder for temporary files": len(list(Path(tempfile.gettempdir()).iterdir())),
    }


def _is_zombie(stat: Path) -> bool:
    try:
        return stat.read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _mebibytes(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.lstat().st_blocks * 512
        except OSError:
            continue
    return found >> 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, metavar="N", help="rounds [100]")
    parser.add_argument("--cold", type=int, default=5, metavar="K", help="every K-th start is cold [5]")
    parser.add_argument("--run", type=int, default=1, metavar="K", help="every K-th round runs browser tests [1]")
    parser.add_argument("--grep", default="security header", metavar="REGEX", help="the browser tests of each round")
    parser.add_argument("--record", type=Path, metavar="FILE", help="a JSON line for each command, appended")
    arguments = parser.parse_args()
    if min(arguments.count, arguments.cold, arguments.run) < 1:
        parser.error("--count, --cold and --run are at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an interrupt does, end what was started
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    host = Host(root, edited_topology(root, (second_phase(), "")))
    soak = Soak(host, arguments.record)
    try:
        host.run("images", "build", limit=3600).expect(0)
        soak.play(0, cold=True, grep=arguments.grep)  # makes the saved state, and whatever is made only once
        if soak.defects:
            sys.stderr.write("\n".join(["the first start failed, so no other can pass:", *soak.defects, ""]))
            return 1
        soak.seconds.clear()
        before, began = measured(host), time.monotonic()
        for number in range(1, arguments.count + 1):
            grep = arguments.grep if number % arguments.run == 0 else ""
            soak.play(number, cold=number % arguments.cold == 0, grep=grep)
            sys.stderr.write(f"round {number}: {len(soak.defects)} defects, {time.monotonic() - began:.0f} s\n")
        after = measured(host)
    finally:
        host.close()
        if not OTHERS_RAM:
            shutil.rmtree(RAM, ignore_errors=True)
        if not soak.defects:
            shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write(report(soak, before, after, arguments.count, time.monotonic() - began))
    return 1 if soak.defects else 0


def report(soak: Soak, before: dict[str, int], after: dict[str, int], count: int, seconds: float) -> str:
    """Both tables, as Markdown, and the defects."""
    lines = [
        f"{count} rounds in {seconds / 60:.0f} min, {len(soak.defects)} defects",
        "",
        "| command | times | median, s | worst, s |",
        "|---|---|---|---|",
    ]
    for kind, found in sorted(soak.seconds.items()):
        lines.append(f"| {kind} | {len(found)} | {statistics.median(found):.1f} | {max(found):.1f} |")
    lines += ["", "| | before | after |", "|---|---|---|"]
    lines += [f"| {name} | {value} | {after[name]} |" for name, value in before.items()]
    return "\n".join([*lines, "", *soak.defects]).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main())
