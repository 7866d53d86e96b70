"""Writes the reports of a run folder from its ``events.jsonl``."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.report import chrome
from orchestrator.report.fold import fold
from orchestrator.report.html import EMBED_TOTAL, PNG, render_html, wanted_images
from orchestrator.report.junit import junit_xml
from orchestrator.report.model import RunView
from orchestrator.report.summary import summary_json
from orchestrator.timeline.read import on_axis, read_timeline

FILES = 5_000  # listed of a run folder
OWN = ("summary.json", "junit.xml", "report/index.html", chrome.FILE)


def write_report(run_folder: Path) -> RunView:
    """Write ``summary.json``, ``junit.xml`` and ``report/index.html``; return what was read.

    Works on the folder of a run that is under way, was killed, or is complete,
    and may be repeated. Each file is replaced in one step.

    Raises:
        OSError: the folder cannot be read or written. Odd content never raises.
    """
    timeline = read_timeline(run_folder)
    view = fold(on_axis(timeline))
    files = sorted({*list_files(run_folder), *OWN})
    write_atomically(run_folder / "summary.json", summary_json(view, files, timeline.usage), mode=0o644)
    write_atomically(run_folder / "junit.xml", junit_xml(view), mode=0o644)
    chrome.write(view, timeline, run_folder / chrome.FILE)
    (run_folder / "report").mkdir(exist_ok=True)
    images = read_images(run_folder, wanted_images(view))
    write_atomically(run_folder / "report" / "index.html", render_html(view, files, images, timeline), mode=0o644)
    return view


def list_files(folder: Path, limit: int = FILES) -> list[str]:
    """Regular files below ``folder`` as relative paths, sorted; links are not followed."""
    found: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        here = Path(parent)
        for name in sorted(names):
            path = here / name
            if len(found) >= limit:
                return found
            if path.is_file() and not path.is_symlink() and not name.endswith(".part"):
                found.append(os.fsencode(path.relative_to(folder)).decode("utf-8", "replace"))
    return found


def read_images(folder: Path, paths: list[str], total: int = EMBED_TOTAL) -> dict[str, bytes]:
    """The PNG files among ``paths`` that fit into ``total`` bytes, by path.

    The folder holds what guests sent: links are not followed, and only regular
    files with the signature of PNG are taken.
    """
    images: dict[str, bytes] = {}
    root = folder.resolve()
    for name in paths:
        path = folder / name
        try:
            if path.parent.resolve() != root / Path(name).parent:
                continue  # some folder on the way is a link
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or not len(PNG) < status.st_size <= total:
                continue
            with path.open("rb") as file:
                content = file.read(status.st_size)
        except (OSError, ValueError):
            continue
        if content.startswith(PNG):
            images[name] = content
            total -= len(content)
    return images
