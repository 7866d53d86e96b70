#!/usr/bin/env python3
"""Renders the application layer of a machine: every file with owner and mode, as a folder with manifest.json.

    render.py --machine server|client --variant V --out DIR

Reads ../stack. A plain program: the image builder runs it and writes what it finds into the disk. Small files are
written below ``--out``; those of the application stay where they are and are named by their absolute path.
Exit codes: 0 done, 2 something is wrong with what it was given (said on stderr).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from render_guest import guest_items
from render_server import MOCKS, script_items, server_items
from render_text import Item, folder, link

HERE = Path(__file__).resolve().parent
STACK = HERE.parent / "stack"
MOCK_SOURCES = HERE.parent / "standin" / "mocks"

# Of an application folder: what is no part of the running application.
LEFT_OUT = frozenset({"__pycache__", "mocks", "tests", "node_modules"})


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="render.py", description="Renders the application layer of a machine.")
    parser.add_argument("--machine", choices=["server", "client"], required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        items = server(options.variant) if options.machine == "server" else client()
        write(items, options.out)
    except (ValueError, OSError) as error:
        print(f"render.py: {error}", file=sys.stderr)
        return 2
    return 0


def server(variant: str) -> list[Item]:
    """The server's items: the stack without the application, which comes as a layer."""
    stack = tomllib.loads((STACK / "stack.toml").read_text(encoding="utf-8-sig"))
    items = [*guest_items(), *server_items(stack, variant), *script_items(STACK)]
    if MOCK_SOURCES.is_dir():
        from render_client import downloads_folder
        from render_python import python_packages

        packages = python_packages(HERE / "server-tools/requirements.lock", downloads_folder(os.environ))
        items += [*tree(MOCK_SOURCES, MOCKS), *tree(packages, f"{MOCKS}/python", frozenset({"__pycache__"}))]
    return items


def client() -> list[Item]:
    """The client's items; the packages are downloaded if they are not there yet."""
    from render_client import browser_items, client_items, downloads_folder, ffmpeg_item, npm_folders
    from render_python import python_packages

    tools = HERE / "client-tools"
    folders = npm_folders(tools)
    packages = [item for target, source in folders.items() for item in tree(source, target, frozenset())]
    wheels = python_packages(tools / "requirements.lock", downloads_folder(os.environ))
    browsers = [ffmpeg_item(wheels), *browser_items(tools, folders)]
    return [*guest_items(), *client_items(tools), *packages, *browsers]


def tree(source: Path, target: str, left_out: frozenset[str] = LEFT_OUT) -> Iterator[Item]:
    """A host folder as items, owned by root; executables stay executable."""
    yield folder(target)
    for base, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in left_out and not name.startswith("."))
        inside = f"{target}/{Path(base).relative_to(source)}".removesuffix("/.")
        for name in folders:
            if not (Path(base) / name).is_symlink():
                yield folder(f"{inside}/{name}")
        for name in sorted([*files, *(one for one in folders if (Path(base) / one).is_symlink())]):
            path = Path(base) / name
            if name.startswith(".") or name.endswith(".pyc"):
                continue
            if path.is_symlink():
                yield link(f"{inside}/{name}", str(path.readlink()))
            else:
                mode = "0755" if path.stat().st_mode & 0o111 else "0644"
                yield Item("file", f"{inside}/{name}", source=path, mode=mode)


def write(items: Iterable[Item], out: Path) -> None:
    """Write the texts below ``out`` and the manifest."""
    entries = []
    for number, item in enumerate(items):
        entry = {"type": item.kind, "target": item.target, "owner": item.owner, "group": item.group}
        if item.kind == "symlink":
            entry["to"] = item.to
        else:
            entry["mode"] = item.mode
        if item.kind == "file":
            if item.content is not None:
                path = out / "files" / f"{number:04}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(item.content, encoding="utf-8")
                entry["source"] = str(path.relative_to(out))
            else:
                entry["source"] = str(item.source)
        entries.append(entry)
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"entries": entries}, indent=1)
    (out / "manifest.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
