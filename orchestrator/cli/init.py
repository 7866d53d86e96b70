"""``orchestrator init``: a new project from a template, which is ready without an edit."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.scaffold.project import Written, write_project
from orchestrator.scaffold.templates import Template, files_of, find_template, project_name, templates
from orchestrator.text import json_text
from orchestrator.topology.values import NAME


def run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        _list(as_json=arguments.json)
        return 0
    template = find_template(arguments.template)
    folder: Path = arguments.folder
    name = arguments.name or project_name(folder.resolve().name)
    if not NAME.fullmatch(name):
        raise UsageError(f'"{name}" cannot be the name of a topology', hint="--name with lower-case letters, digits, -")
    written = write_project(folder, files_of(template, name), force=arguments.force)
    steps = next_steps(template, folder)
    if arguments.json:
        data = {
            "name": name,
            "template": template.name,
            "folder": str(folder.resolve()),
            "created": [str(path) for path in written.created],
            "replaced": [str(path) for path in written.replaced],
            "unchanged": [str(path) for path in written.unchanged],
            "next": steps,
        }
        sys.stdout.write(json_text(data, indent=2) + "\n")
    elif not arguments.quiet:
        sys.stdout.write(_told(name, template, written, folder))
        sys.stdout.write("".join(f"  {step}\n" for step in ("", "next:", *steps)).replace("  \n", "\n", 1))
    return 0


def next_steps(template: Template, folder: Path) -> list[str]:
    """What to type next. Pure.

    >>> next_steps(Template("browser", "", ()), Path("my shop"))[0]
    "cd 'my shop'"
    """
    steps = [] if folder == Path() else [f"cd {shlex.quote(str(folder))}"]
    steps.append("orchestrator host-setup --check   # what this host lacks; without --check it is installed")
    if template.name == "browser":
        steps.append("orchestrator run                  # boots, proves, runs the browser tests, takes everything down")
    steps.append("orchestrator up                   # builds what is missing, boots, proves; the machines keep running")
    steps.append("pytest                            # the tests in tests/, where pytest is installed")
    return steps


def _told(name: str, template: Template, written: Written, folder: Path) -> str:
    lines = [f"{name}: {template.title}"]
    for word, paths in (
        ("created", written.created),
        ("replaced", written.replaced),
        ("unchanged", written.unchanged),
    ):
        lines += [f"  {word:<9}  {folder / path}" for path in paths]
    return "\n".join(lines) + "\n"


def _list(*, as_json: bool) -> None:
    known = templates()
    if as_json:
        data = [{"name": each.name, "title": each.title} for each in known.values()]
        sys.stdout.write(json_text(data, indent=2) + "\n")
        return
    width = max(len(name) for name in known)
    sys.stdout.write("".join(f"{each.name:<{width}}  {each.title}\n" for each in known.values()))
