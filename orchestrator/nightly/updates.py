"""What is brought up to date before the first run. What cannot be stays as it is, and that is told."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.revisions import commit_of
from orchestrator.errors import OrchestratorError
from orchestrator.nightly.model import Update
from orchestrator.process import run

PULL_LIMIT = 600.0  # seconds


async def pull(folder: Path, deadline: Deadline) -> Update:
    """``git pull --ff-only`` in a folder."""
    before = await commit_of(folder)
    within = deadline.earlier(PULL_LIMIT)
    # Nobody is there to type a password.
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    argv = ["git", "-C", str(folder), "pull", "--ff-only", "--quiet"]
    try:
        done = await run(argv, deadline=within, env=environment, check=False)
        ok, message = done.code == 0, _cause(done.stderr) if done.code else ""
    except OrchestratorError as error:
        ok, message = False, error.brief
    after = await commit_of(folder)
    return Update(f"pull {folder}", ok, before, after, message, round(within.elapsed, 1))


def _cause(text: str) -> str:
    """The line of Git's that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return next(iter((*fatal, *lines)), "it said nothing")
