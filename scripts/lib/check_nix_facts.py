"""What an evaluation says about a machine, made fit for comparing and for keeping in a file. Pure.

The evaluation gives texts with store paths and derivations (nixos-images/checks/facts.nix). Here the hashes are taken
out of the paths, and derivations are replaced by what matters in them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from check_nix_texts import Directive, derivation_environment, nginx_tree

STORE_PATH = re.compile(r"/nix/store/[0-9a-df-np-sv-z]{32}-")
SAMPLES = ("run-script-shares", "run-script-shared-memory")  # other people's machines
MACHINES = ("server-mock", "server-minimal", "server-full", "client", "client-desktop")


def sources_digest(root: Path) -> str:
    """SHA-256 over all that an evaluation of ours shows: the Nix files, and the data (not the comments) of stack.toml.

    Scripts and the stand-in are no part of it: only their store paths would be seen.
    """
    total = hashlib.sha256()
    for path in sorted((root / "nixos-images").rglob("*.nix")):
        total.update(f"{path.relative_to(root)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    stack = tomllib.loads((root / "stack/stack.toml").read_text(encoding="utf-8"))
    total.update(json.dumps(stack, sort_keys=True).encode())
    return total.hexdigest()


def without_hashes(value: Any) -> Any:
    """The same data with ``/nix/store/HASH-name`` written ``/nix/store/name``."""
    if isinstance(value, str):
        return STORE_PATH.sub("/nix/store/", value)
    if isinstance(value, list):
        return [without_hashes(one) for one in value]
    if isinstance(value, Mapping):
        return {key: without_hashes(one) for key, one in value.items()}
    return value


def kept(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of one machine as they are kept in tests/golden/nix: what is in the texts, laid out for comparing.

      * ``runScript``: its ``text``; the ``arguments`` (QEMU's, as it writes them), the ``variables`` it reads, the
    ``programs`` it calls;
      * ``nginx.text``, ``firewall``: directives and rules without comments and layout;
      * ``postgresql.start``: the options of initdb.
    """
    facts = without_hashes(raw)
    facts["runScript"] = run_script(derivation_text(raw["runScript"]))
    facts["sshd"] = without_hashes(_sshd(*raw["sshd"]))
    if "nginx" in raw:
        facts["nginx"]["text"] = nginx_text(nginx_tree(derivation_text(raw["nginx"]["text"])))
        facts["postgresql"]["conf"] = derivation_text(raw["postgresql"]["conf"])
        facts["postgresql"]["start"] = re.findall(r"--[\w-]+=[\w.-]+", raw["postgresql"]["start"])
    if raw["firewall"] is not None:
        facts["firewall"] = _rules(raw["firewall"])
    del facts["toplevel"]  # a hash of everything, and nothing but it
    result: dict[str, Any] = facts
    return result


def derivation_text(text: str) -> str:
    """The ``text`` that a derivation would write, without hashes."""
    cleaned: str = without_hashes(derivation_environment(text)["text"])
    return cleaned


def run_script(text: str) -> dict[str, Any]:
    """A run script, and what it does as data.

    Raises:
        ValueError: it does not end in `exec qemu…`.
    """
    before, mark, call = text.rpartition("\nexec ")
    if not mark:
        raise ValueError("the run script does not end in exec")
    program, *arguments = shlex.split(call.replace("\\\n", " "))
    return {
        "text": text,
        "program": Path(program).name,
        "arguments": arguments,
        "variables": sorted(set(re.findall(r"\$\{?([A-Z][A-Z_]{3,})\b", text))),
        "programs": sorted({Path(one).name for one in re.findall(r"/nix/store/[^/\s]+/bin/([\w.-]+)", before)}),
    }


def nginx_text(tree: Sequence[Directive], indent: str = "") -> str:
    """A tree as nginx reads it, every argument quoted that may need it."""
    lines = []
    for one in tree:
        words = " ".join(_quoted(word) for word in one.words)
        if one.body is None:
            lines.append(f"{indent}{words};\n")
        else:
            lines.append(f"{indent}{words} {{\n{nginx_text(one.body, indent + '  ')}{indent}}}\n")
    return "".join(lines)


def _quoted(word: str) -> str:
    if re.fullmatch(r"[^\s;{}'\"\\]+", word):
        return word
    if "'" not in word:
        return f"'{word}'"
    return '"' + word.replace('"', '\\"') + '"'


def _sshd(settings: str, final: str) -> str:
    """What sshd reads: the settings, then the lines the module appends by a here-document."""
    environment = derivation_environment(settings)
    command = derivation_environment(final)["buildCommand"]
    found = re.search(r"<<EOL\n(.*?)\nEOL", command, re.DOTALL)
    if found is None:
        raise ValueError("the recipe of sshd_config has another form than expected")
    return f"{environment['text'].rstrip()}\n{found[1].rstrip()}\n"


def _rules(text: str) -> str:
    lines = (" ".join(re.sub(r'comment "[^"]*"|#.*', "", line).split()) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line)
