"""Templates of recipes: Jinja2, strict about names, with what a configuration file needs.

Filters: ``toml`` writes a value as TOML, ``fill`` replaces ``@name@`` in texts however deep, ``env`` writes a table as
lines of an EnvironmentFile=.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import RecipeError

if TYPE_CHECKING:
    from jinja2 import Environment

SUFFIX: Final = ".j2"
_PLACEHOLDER = re.compile(r"@([a-z][a-z.-]*)@")


def render(path: Path, variables: Mapping[str, object]) -> str:
    """The text that a template makes of the variables.

    Raises:
        RecipeError: there is no such file, it is no template, or it uses a name that nobody gave.
    """
    import jinja2

    try:
        return _environment(path.parent).get_template(path.name).render(dict(variables))
    except jinja2.TemplateNotFound as error:
        raise RecipeError(f"there is no template {path.parent / str(error)}", where=[str(path)]) from error
    except jinja2.TemplateSyntaxError as error:
        raise RecipeError(
            f"the template {path} is wrong", evidence=[f"{error.filename}:{error.lineno}: {error.message}"]
        ) from error
    except (jinja2.TemplateError, ValueError, TypeError, LookupError, ArithmeticError, OSError) as error:
        line = _line_of(error, path)
        raise RecipeError(f"the template {path} cannot be filled in", evidence=[f"{path}:{line}: {error}"]) from error


def _environment(folder: Path) -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, not HTML
    )
    environment.filters |= {"toml": toml, "fill": fill, "env": environment_file}
    return environment


def _line_of(error: BaseException, path: Path) -> int:
    """The line of the template in which an error was raised; Jinja2 gives its frames the template's name."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == path.name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def toml(found: object) -> str:
    r"""A value as TOML on one line. Pure.

    >>> toml({"a.b": [1, True, 'say "x"'], "c": {}})
    '{"a.b" = [1, true, "say \\"x\\""], "c" = {}}'

    Raises:
        ValueError: TOML has no such value.
    """
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, str):
        return json.dumps(found, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(found, (int, float)):
        return str(found)
    if isinstance(found, (date, datetime, time)):
        return found.isoformat()
    if isinstance(found, Mapping):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(inner)}" for key, inner in found.items()) + "}"
    if isinstance(found, (list, tuple)):
        return "[" + ", ".join(toml(inner) for inner in found) + "]"
    raise ValueError(f"TOML cannot say {found!r}")


def fill(found: object, names: Mapping[str, object]) -> object:
    """Replace ``@name@`` in every text of a value. Pure.

    >>> fill({"ExecStart": ["@app@/bin/x", 3]}, {"app": "/opt/a"})
    {'ExecStart': ['/opt/a/bin/x', 3]}

    Raises:
        ValueError: a name that nobody gave.
    """
    if isinstance(found, str):
        return _PLACEHOLDER.sub(lambda match: _filled(match[1], names), found)
    if isinstance(found, Mapping):
        return {key: fill(inner, names) for key, inner in found.items()}
    if isinstance(found, (list, tuple)):
        return [fill(inner, names) for inner in found]
    return found


def _filled(name: str, names: Mapping[str, object]) -> str:
    if name not in names:
        raise ValueError(f"nobody filled in @{name}@")
    return str(names[name])


def environment_file(variables: Mapping[str, object]) -> str:
    r"""The text of an EnvironmentFile=. Every value is quoted, a reader may be a shell as well. Pure.

    >>> print(environment_file({"A": 'x"$y'}), end="")
    A="x\"\$y"
    """
    lines = []
    for name, value in variables.items():
        escaped = re.sub(r'(["\\$`])', r"\\\1", str(value))
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)
