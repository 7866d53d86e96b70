"""The templates of `orchestrator init`: what each is called, and the files it makes. Nothing is written here."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import orchestrator
from orchestrator.errors import UsageError
from orchestrator.text import json_text
from orchestrator.topology.document import suggest

FOLDER: Final = Path(__file__).parents[1] / "templates"
TOPOLOGY_SCHEMA: Final = "topology.schema.json"
RECIPE_SCHEMA: Final = "recipe.schema.json"
DEFAULT: Final = "empty"
_DOT, _JINJA = "dot-", ".j2"
_NAME_LIMIT = 24  # characters; an environment's name may get a few more


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of new project.

    Attributes:
        title: one line for people.
        folders: below `FOLDER`; a file of a later one wins.
    """

    name: str
    title: str
    folders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be written, by its path below the project's folder."""

    path: Path
    text: str

    @property
    def mode(self) -> int:
        """Its permissions: scripts can be executed."""
        return 0o755 if self.text.startswith("#!") else 0o644


def templates() -> dict[str, Template]:
    """All templates by name, in the order of templates.toml."""
    data = tomllib.loads((FOLDER / "templates.toml").read_text(encoding="utf-8"))
    return {name: Template(name, entry["title"], tuple(entry["folders"])) for name, entry in data.items()}


def find_template(name: str) -> Template:
    """The template of this name.

    Raises:
        UsageError: there is none; the known ones are named.
    """
    known = templates()
    if name not in known:
        raise UsageError(
            f'there is no template "{name}"{suggest(name, known)}',
            evidence=[f"{each.name}: {each.title}" for each in known.values()],
            hint="orchestrator init --list",
        )
    return known[name]


def project_name(folder: str) -> str:
    """A name for the topology, made of a folder's: lower-case letters, digits and single ``-``. Pure.

    >>> project_name("My Shop (2nd try)"), project_name("2026"), project_name("…")
    ('my-shop-2nd-try', 'e2e-2026', 'e2e')
    """
    words = re.findall(r"[a-z0-9]+", folder.lower())
    name = "-".join(words)[:_NAME_LIMIT].strip("-")
    return name if name[:1].isalpha() else f"e2e-{name}".strip("-")


def requirement() -> str:
    """What pip can install this package from elsewhere too: the URL it was installed from, else nothing."""
    try:
        found: Distribution = distribution("orchestrator")
        data = json.loads(found.read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return ""
    url = data.get("url", "")
    return url if re.match(r"https?://[^\s\"'$`\\{}]+$", url) and "vcs_info" not in data else ""


def files_of(template: Template, name: str) -> list[NewFile]:
    """Every file of a new project, in the order of their paths.

    Args:
        name: of the topology.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - source code, not HTML
    )
    variables = {
        "name": name,
        "template": template.name,
        "requirement": requirement(),
        "version": orchestrator.__version__,
    }
    found: dict[Path, str] = {}
    for folder in template.folders:
        for source in sorted(path for path in (FOLDER / folder).rglob("*") if path.is_file()):
            if source.parent.name == "__pycache__":
                continue
            text = source.read_text(encoding="utf-8")
            if source.name.endswith(_JINJA):
                text = environment.get_template(str(source.relative_to(FOLDER))).render(variables)
            found[_target(source.relative_to(FOLDER / folder))] = text
    for schema, content in _schemas().items():
        found[Path(schema)] = json_text(content, indent=2) + "\n"
    return [NewFile(path, found[path]) for path in sorted(found)]


def _target(path: Path) -> Path:
    """Where a file of a template goes. Pure.

    >>> str(_target(Path("dot-github/workflows/e2e.yml.j2")))
    '.github/workflows/e2e.yml'
    """
    parts = [f".{part.removeprefix(_DOT)}" if part.startswith(_DOT) else part for part in path.parts]
    return Path(*parts[:-1], parts[-1].removesuffix(_JINJA))


def _schemas() -> dict[str, Mapping[str, object]]:
    from orchestrator.images.recipe_reference import recipe_schema
    from orchestrator.topology.schema import json_schema

    return {TOPOLOGY_SCHEMA: json_schema(), RECIPE_SCHEMA: recipe_schema()}
