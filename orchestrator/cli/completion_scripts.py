"""Completion scripts for bash, zsh, fish and tcsh: shtab's, and the names that only the host knows.

shtab writes the scripts from the argparse tree. Below stands what it cannot know: which value of an option or argument
is a machine, a service or a side of a copy (`KINDS`), and the few lines of each shell that ask for those names with
``orchestrator completion names KIND …``, in the environment and topology file of the line that is being typed.
"""

from __future__ import annotations

import argparse
import re

import shtab

from orchestrator.cli.parser import CommandParser

# What stands for a value in ``--help`` → the kinds of names that are completed there.
KINDS: dict[str, tuple[str, ...]] = {
    "MACHINE": ("machine",),
    "V": ("variant",),
    "UNIT": ("unit",),
    "NETWORK": ("network",),
    "SERVICE": ("service",),
}
PATHS = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY, "FOLDER": shtab.DIRECTORY}
COPY_SIDES = frozenset({"SOURCE", "TARGET"})  # MACHINE: or a path

_BASH = """\
_orchestrator_names() {
    compgen -W "$("${_orchestrator_program/#\\~/$HOME}" "${_orchestrator_context[@]}" completion names "${@:2}" \\
        2>/dev/null | sort -u)" -- "$1"  # a target may be named like its machine
}
_orchestrator_copy_files() {
    [[ $1 == */* ]] || _orchestrator_names "$1" machine | sed 's/$/:/'
    compgen -f -- "$1"
}
"""

# Around shtab's function: bash takes --option=value and MACHINE:PATH apart; what follows -- is the guest's.
_BASH_AROUND = """
_orchestrator() {
    local _orchestrator_program=${COMP_WORDS[0]} i word previous=
    local -a _orchestrator_context=() words=()
    COMPREPLY=()
    [[ ${COMP_WORDS[COMP_CWORD]} == : || ${COMP_WORDS[COMP_CWORD-1]} == : ]] && return 0  # a path inside a machine
    for ((i = 0; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ $word == -- ]] && return 0
        [[ $word == = ]] && continue
        [[ $previous == --name || $previous == -n || $previous == --file ]] &&
            _orchestrator_context+=("$previous" "$word")
        words+=("$word")
        previous=$word
    done
    word=${COMP_WORDS[COMP_CWORD]}
    local -a COMP_WORDS=("${words[@]}" "${word#=}")
    local COMP_CWORD=${#words[@]}
    _shtab_orchestrator
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *: ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -o bashdefault -F _orchestrator orchestrator
"""

_ZSH = """\
_orchestrator_names() {
    local -a typed context found
    local -i i
    typed=(${(z)LBUFFER})
    for (( i = 1; i < $#typed; i++ )); do
        [[ $typed[i] == (--name|-n|--file) ]] && context+=($typed[i] "${(Q)typed[i+1]}")
        [[ $typed[i] == (--name|--file)=* ]] && context+=("${(Q)typed[i]}")
    done
    found=(${(fu)"$("${(Q)typed[1]/#\\~/$HOME}" $context completion names $@ 2>/dev/null)"})
    (( $#found )) && compadd $suffix -a found
}
_orchestrator_copy_files() {
    local -a suffix=(-S :)
    _orchestrator_names machine
    _files
}
"""

_FISH = """\
function _orchestrator_names
    set -l typed (commandline -opc)
    set -l context
    for i in (seq 2 (count $typed))
        switch $typed[$i]
            case -n --name --file
                test $i -lt (count $typed); and set -a context $typed[$i] $typed[(math $i + 1)]
            case '--name=*' '--file=*'
                set -a context $typed[$i]
        end
    end
    $typed[1] $context completion names $argv 2>/dev/null
end
function _orchestrator_copy_files
    _orchestrator_names machine | string replace -r '$' :
    __fish_complete_path (commandline -ct)
end
"""

PREAMBLES = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH, "tcsh": ""}


def script(parser: CommandParser, shell: str) -> str:
    """The completion script of one shell (a key of `PREAMBLES`)."""
    for command in (parser, *parser.commands().values()):
        for action in command.actions():
            _describe(action)
    text = shtab.complete(parser, shell, preamble=PREAMBLES[shell])
    if shell == "bash":
        return text + "\n" + "".join(_bash_functions(text)) + _BASH_AROUND
    if shell == "zsh":  # shtab's options take their value as the next word only; zsh calls the other form NAME=
        return re.sub(r'(--[a-z-]+)(\}?"?\[[^"]*\]:)', r"\1=\2", text)
    return text + "\n"


def _describe(action: argparse.Action) -> None:
    """Tell shtab how the value of an option or argument is completed."""
    meta = str(action.metavar)
    complete: object = None
    if action.nargs == 0 or action.choices:
        return
    if meta in PATHS:
        complete = PATHS[meta]
    elif meta in COPY_SIDES:
        name = "_orchestrator_copy_files"
        complete = {"bash": name, "zsh": " " + name, "fish": f"({name})", "tcsh": "f"}
    elif meta == "NAME":
        kinds = ("environment",) if action.option_strings else ("service", "machine")
        complete = _named(kinds)
    elif meta in KINDS:
        complete = _named(KINDS[meta])
    if complete is not None:
        action.complete = complete  # type: ignore[attr-defined]  # where shtab looks for it


def _named(kinds: tuple[str, ...]) -> dict[str, str]:
    words = " ".join(kinds)
    return {
        "bash": f"_orchestrator_{'_'.join(kinds)}",
        "zsh": f" _orchestrator_names {words}",  # after a blank, zsh adds no options of its own
        "fish": f"(_orchestrator_names {words})",
        "tcsh": f"`orchestrator completion names {words}`",
    }


def _bash_functions(text: str) -> list[str]:
    """For bash, shtab takes the name of a function and no arguments: one function for each set of kinds."""
    sets = sorted(
        set(
            re.findall(r"_COMPGEN=_orchestrator_((?:environment|machine|network|service|unit|variant|_)+)$", text, re.M)
        )
    )
    return [f'_orchestrator_{name}() {{ _orchestrator_names "$1" {name.replace("_", " ")}; }}\n' for name in sets]
