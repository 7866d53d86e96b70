"""How templates of this package are read: quoted by construction, and strict."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.report import markup


def templates_of(package: str) -> Environment:
    """The templates in the folder ``templates`` of a package; whatever they show is quoted and one line."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        finalize=markup.one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
