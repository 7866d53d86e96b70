"""Puts folders of Git repositories back as they were at a commit, beside what is checked out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.process import run

LIMIT = 300.0  # seconds of one command of Git


async def git(folder: Path, *words: str) -> str:
    """The output of a command of Git in a folder.

    Raises:
        HostError: it failed.
    """
    done = await run(["git", "-C", str(folder), *words], deadline=Deadline.after(LIMIT), hint="apt install git")
    return done.stdout.strip()


async def commits_between(folder: Path, good: str, bad: str) -> tuple[str, ...]:
    """The commits that changed a folder, after ``good`` up to ``bad``, oldest first.

    Raises:
        HostError: one of them is not in the repository.
    """
    text = await git(folder, "rev-list", "--reverse", "--first-parent", f"{good}..{bad}", "--", ".")
    return tuple(text.split())


@dataclass(slots=True)
class Worktrees:
    """Folders at commits, made below one folder and kept until its end."""

    root: Path
    _made: dict[tuple[Path, str], Path] = field(default_factory=dict)
    _trees: list[tuple[Path, Path]] = field(default_factory=list)

    async def at(self, folder: Path, commit: str) -> Path:
        """The folder as it was at a commit.

        Raises:
            HostError: Git refused, or the folder was not there.
        """
        top = Path(await git(folder, "rev-parse", "--show-toplevel"))
        tree = self._made.get((top, commit))
        if tree is None:
            tree = self.root / f"{len(self._made)}-{commit[:12]}" / top.name
            await git(top, "worktree", "add", "--detach", "--force", str(tree), commit)
            self._trees.append((top, tree))
            self._made[top, commit] = tree
        found = tree / folder.resolve().relative_to(top.resolve())
        if not found.exists():
            raise HostError(f"{folder} was not there at {commit[:12]}")
        return found

    async def remove(self) -> None:
        """Take all of them away."""
        for top, tree in self._trees:
            await run(
                ["git", "-C", str(top), "worktree", "remove", "--force", str(tree)],
                deadline=Deadline.after(LIMIT),
                check=False,
            )


@asynccontextmanager
async def worktrees(root: Path) -> AsyncIterator[Worktrees]:
    """Worktrees that are gone after the block."""
    found = Worktrees(root)
    try:
        yield found
    finally:
        await found.remove()
