"""Takes the pictures of the README from a real run; see scripts/pictures."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pictures_failure
from pictures_tools import PICTURES, ROOT, Failed, photograph
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from orchestrator.cli.progress_lines import LineWriter, stamp
from orchestrator.events.read import load_events

WIDTH, HEIGHT = 108, 30  # of the terminal, in characters
BROWSER_WINDOW = (1280, 960)  # pixels
INTERVAL = 0.3  # seconds between two frames
LIMIT = 1200.0  # seconds for the whole run
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
# Blue, magenta, cyan, white; the theme begins with black, red, green, yellow.
DIM = ((97, 175, 239), (198, 120, 221), (86, 182, 194), (171, 178, 191))
BRIGHT = ((130, 196, 255), (215, 150, 235), (110, 205, 215), (255, 255, 255))
THEME = TerminalTheme(
    (24, 26, 31),
    (215, 218, 224),
    [(24, 26, 31), (224, 108, 117), (126, 198, 120), (229, 192, 123), *DIM],
    [(92, 99, 112), (240, 113, 120), (152, 224, 144), (255, 213, 128), *BRIGHT],
)
# rich's own frame loads a font from the network; a picture in a README must need nothing.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>TITLE</title>
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


@dataclass(frozen=True)
class Recording:
    """A folder with the frames of the terminal (``0000.ansi`` and so on) and the run folder (``runs/latest``)."""

    folder: Path

    @property
    def frames(self) -> list[str]:
        """Every different screen in order, with its escape sequences."""
        return [path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("*.ansi"))]

    @property
    def run(self) -> Path:
        """The run folder."""
        return (self.folder / "runs" / "latest").resolve()


def record(folder: Path, options: list[str]) -> Recording:
    """Run ``orchestrator run --fresh`` in a terminal of tmux and keep each screen in ``folder``.

    Raises:
        Failed: tmux is missing, the run failed, or it took longer than LIMIT.
    """
    if shutil.which("tmux") is None:
        raise Failed("tmux is not installed")
    state = tempfile.mkdtemp(prefix="orch-")  # short: it holds sockets
    words = [sys.executable, "-m", "orchestrator", "run", "--fresh", *options]
    command = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(words)}"
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("TMUX", "NO_COLOR", "CI")},
        "ORCH_STATE_DIR": state,
        "ORCH_RUNS": str(folder / "runs"),  # a variable, so that the title is what one types
        "LC_ALL": "C.UTF-8",
    }
    tmux = ["tmux", "-u", "-L", f"pictures-{os.getpid()}", "-f", os.devnull]
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    start = ["new-session", "-d", *size, command, ";", "set-option", "-g", "remain-on-exit", "on"]
    subprocess.run([*tmux, *start], env=environment, check=True)
    try:
        _watch(tmux, folder)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
        shutil.rmtree(state, ignore_errors=True)
    return Recording(folder)


def _watch(tmux: list[str], folder: Path) -> None:
    until, count, last = time.monotonic() + LIMIT, 0, ""
    while time.monotonic() < until:
        dead = _output([*tmux, "display-message", "-p", "#{pane_dead} #{pane_dead_status}"]).split()
        screen = _output([*tmux, "capture-pane", "-e", "-p"])
        if screen != last:
            (folder / f"{count:04}.ansi").write_text(screen, encoding="utf-8")
            count, last = count + 1, screen
        if dead[:1] == ["1"]:
            if dead[1:] != ["0"]:
                raise Failed(f"the run ended with {dead[1:]}:\n{screen}")
            return
        time.sleep(INTERVAL)
    raise Failed(f"the run did not end within {LIMIT:g} s")


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout


def telling(frames: list[str]) -> str:
    """The frame that shows most: services that are up, some that start, some that wait."""

    def score(frame: str) -> tuple[int, int]:
        marks = [line[:1] for line in Text.from_ansi(frame).plain.splitlines()]
        up, waiting = marks.count("✔"), marks.count("–")
        starting = sum(mark in SPINNER for mark in marks if mark)
        return min(up, starting * 2, waiting * 2), up

    if not frames:
        raise Failed("the terminal showed nothing")
    return max(frames, key=score)


def draw_terminal(frame: str, path: Path, title: str) -> None:
    """A screen with its escape sequences as an SVG file that needs no network."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    text = Text.from_ansi(frame.rstrip("\n"))
    text.no_wrap = True
    console.print(text)
    path.write_text(
        console.export_svg(title=title, theme=THEME, code_format=SVG.replace("TITLE", title), unique_id="board"),
        encoding="utf-8",
    )


def progress(events: Path) -> str:
    """The run as ``--progress plain`` prints it, whole lines in their order."""
    writer = LineWriter()
    lines = ((event, writer.line(event)) for event in load_events(events))
    return "".join(f"{stamp(event.time)} {line}\n" for event, line in lines if line)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/pictures", allow_abbrev=False)
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--from", type=Path, metavar="DIR", dest="source")
    parser.add_argument("--failure", action="store_true")
    parser.add_argument("options", nargs="*", metavar="OPTION")
    arguments = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (arguments.keep or Path(scratch)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            if arguments.failure:
                run = arguments.source.resolve() if arguments.source else pictures_failure.take(folder)
                pictures_failure.draw(run, PICTURES)
                return 0
            recording = Recording(arguments.source.resolve()) if arguments.source else record(folder, arguments.options)
            draw_terminal(telling(recording.frames), PICTURES / "board.svg", "orchestrator run")
            photograph((recording.run / "report" / "index.html").as_uri(), PICTURES / "report.png", BROWSER_WINDOW)
            (PICTURES / "run.txt").write_text(progress(recording.run / "events.jsonl"), encoding="utf-8")
    except Failed as failure:
        print(f"scripts/pictures: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
