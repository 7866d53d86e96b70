"""The zsh completion script."""

from __future__ import annotations

from orchestrator.cli.completion_tree import Command, Option, Tree, Value

_HEAD = """\
#compdef orchestrator
# zsh completion of orchestrator; made by `orchestrator completion zsh`

_orchestrator_names() {
    # The words of some kinds, as the host knows them.
    local kind word
    "${(Q)words[1]/#\\~/$HOME}" $context_options completion names 2>/dev/null |
        while IFS=$'\\t' read -r kind word; do
            (( ${*[(Ie)$kind]} )) && print -r -- "$word"
        done
}

_orchestrator_offer() {
    local kind
    local -a named found
    (( $#choices )) && _describe -t values value choices
    for kind in $kinds; do
        case $kind in
            (file) _files ;;
            (folder) _files -/ ;;
            (side)
                found=(${(f)"$(_orchestrator_names machine)"})
                (( $#found )) && compadd -S '' -- ${^found}:
                _files
                ;;
            (*) named+=($kind) ;;
        esac
    done
    if (( $#named )); then
        found=(${(f)"$(_orchestrator_names $named)"})
        (( $#found )) && _describe -t names name found
    fi
    return 0
}
"""

_BODY = """\
_orchestrator() {
    local cur=$words[CURRENT] command= pending= word
    local -a context_options choices kinds options
    local -i i place=0
    for (( i = 2; i < CURRENT; i++ )); do
        word=$words[i]
        if [[ -n $pending ]]; then
            [[ $pending == (--name|-n|--file) ]] && context_options+=($pending "$word")
            pending=
        elif [[ $word == -- ]]; then
            [[ $command == exec ]] && _files
            return 0
        elif [[ $word == -*=* ]]; then
            [[ $word == (--name|--file)=* ]] && context_options+=("$word")
        elif [[ $word == -* ]]; then
            _orchestrator_value "$command" "$word" && pending=$word
        elif [[ -z $command ]]; then
            _orchestrator_command "$word" || return 0
        else
            (( ++place ))
        fi
    done
    if [[ -n $pending ]]; then
        _orchestrator_value "$command" "$pending"
        _orchestrator_offer
    elif [[ $cur == --*=* ]]; then
        compset -P '*='
        _orchestrator_value "$command" "${cur%%=*}" && _orchestrator_offer
    elif [[ $cur == -* ]]; then
        _orchestrator_options "$command"
        _describe -o -t options option options
    elif [[ -z $command ]]; then
        _describe -t commands command _orchestrator_commands
    else
        _orchestrator_place "$command" "$place" && _orchestrator_offer
    fi
    return 0
}

if [[ $funcstack[1] == _orchestrator ]]; then
    _orchestrator "$@"  # loaded by name from $fpath
else
    compdef _orchestrator orchestrator
fi
"""


def script(tree: Tree) -> str:
    """The script, for a folder of $fpath (as ``_orchestrator``) or to be sourced after compinit."""
    commands = [
        _described(name, command.help) for command in tree.commands for name in (command.name, *command.aliases)
    ]
    options = [("''", tree.options), *((command.name, command.options) for command in tree.commands)]
    values = [("", option) for option in tree.options]
    values += [(command.name, option) for command in tree.commands for option in command.options]
    parts = [
        _HEAD,
        "typeset -ga _orchestrator_commands\n_orchestrator_commands=(\n"
        + "".join(f"    {line}\n" for line in commands)
        + ")\n",
        _function(
            "_orchestrator_command",
            '"$1"',
            [f"({'|'.join((each.name, *each.aliases))}) command={each.name} ;;" for each in tree.commands],
        ),
        _function("_orchestrator_options", '"$1"', [f"({name}) options=({_all(own)}) ;;" for name, own in options]),
        _function(
            "_orchestrator_value",
            '"$1:$2"',
            [
                _setting("|".join(f"{name}:{word}" for word in each.names), each.value)
                for name, each in values
                if each.value is not None
            ],
        ),
        _function("_orchestrator_place", '"$1:$2"', [line for each in tree.commands for line in _places(each)]),
        _BODY,
    ]
    return "\n".join(parts)


def _function(name: str, subject: str, lines: list[str]) -> str:
    inside = "\n".join(f"        {line}" for line in [*lines, "(*) return 1 ;;"])
    return f"{name}() {{\n    case {subject} in\n{inside}\n    esac\n    return 0\n}}\n"


def _all(options: tuple[Option, ...]) -> str:
    return " ".join(_described(name, option.help) for option in options for name in option.names)


def _described(word: str, help_text: str) -> str:
    """``'word:help'`` for _describe, where a colon in the word would end it."""
    text = f"{word}:{help_text}".replace("'", "'\\''")
    return f"'{text}'"


def _places(command: Command) -> list[str]:
    last = len(command.places) - 1
    return [
        _setting(f"{command.name}:{'*' if command.repeats and index == last else index}", value)
        for index, value in enumerate(command.places)
    ]


def _setting(pattern: str, value: Value) -> str:
    return f"({pattern}) choices=({' '.join(value.choices)}) kinds=({' '.join(value.kinds)}) ;;"
