"""The bash completion script."""

from __future__ import annotations

from orchestrator.cli.completion_tree import Command, Option, Tree, Value

_HEAD = """\
# bash completion of orchestrator; made by `orchestrator completion bash`

_orchestrator_names() {
    # The words of some kinds, as the host knows them.
    local program=${COMP_WORDS[0]/#\\~/$HOME} kind word wanted=" $* "
    "$program" "${_orchestrator_context[@]}" completion names 2>/dev/null |
        while IFS=$'\\t' read -r kind word; do
            [[ $wanted == *" $kind "* ]] && printf '%s\\n' "$word"
        done | sort -u  # a target may be named like its machine
}

_orchestrator_paths() {
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen "$1" -- "$cur")
}

_orchestrator_offer() {
    # $1 choices, $2 kinds
    local words=$1 kind
    local -a named=()
    for kind in $2; do
        case $kind in
            file) _orchestrator_paths -f ;;
            folder) _orchestrator_paths -d ;;
            side)
                if [[ $cur != */* ]]; then
                    compopt -o nospace 2>/dev/null
                    words+=" $(_orchestrator_names machine | sed 's/$/:/' | tr '\\n' ' ')"
                fi
                _orchestrator_paths -f
                ;;
            *) named+=("$kind") ;;
        esac
    done
    (( ${#named[@]} )) && words+=" $(_orchestrator_names "${named[@]}" | tr '\\n' ' ')"
    mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$words" -- "$cur")
}
"""

_BODY = """\
_orchestrator() {
    local cur=${COMP_WORDS[COMP_CWORD]} command= pending= place=0 i word
    local -a _orchestrator_context=()
    local options= choices= kinds=
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then
            continue  # bash takes --option=value apart
        elif [[ $pending ]]; then
            [[ $pending == --name || $pending == -n || $pending == --file ]] &&
                _orchestrator_context+=("$pending" "$word")
            pending=
        elif [[ $word == -- ]]; then
            [[ $command == exec ]] && compopt -o default -o bashdefault 2>/dev/null
            return 0
        elif [[ $word == -* ]]; then
            _orchestrator_value "$command" "$word" && pending=$word
        elif [[ ! $command ]]; then
            command=$(_orchestrator_command "$word") || return 0
        elif [[ $word != : && ${COMP_WORDS[i-1]} != : ]]; then
            ((place++))
        fi
    done
    [[ $cur == : || ${COMP_WORDS[COMP_CWORD-1]} == : ]] && return 0  # a path inside a machine
    [[ $cur == = ]] && cur=
    if [[ $pending ]]; then
        _orchestrator_value "$command" "$pending"
        _orchestrator_offer "$choices" "$kinds"
    elif [[ $cur == -* ]]; then
        _orchestrator_options "$command"
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    elif [[ ! $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$_orchestrator_commands" -- "$cur")
    else
        _orchestrator_place "$command" "$place" && _orchestrator_offer "$choices" "$kinds"
    fi
    return 0
}

complete -F _orchestrator orchestrator
"""


def script(tree: Tree) -> str:
    """The script, to be sourced or put into bash-completion's folder."""
    words = [name for command in tree.commands for name in (command.name, *command.aliases)]
    parts = [
        _HEAD,
        f"_orchestrator_commands='{' '.join(words)}'\n",
        _function("_orchestrator_command", "the command's own name, of any name it has", '"$1"', _names(tree)),
        _function("_orchestrator_options", "sets options: those of a command ($1)", '"$1"', _option_words(tree)),
        _function(
            "_orchestrator_value",
            "sets choices and kinds of an option's value ($1 command, $2 option); fails for a flag",
            '"$1:$2"',
            _option_values(tree),
        ),
        _function(
            "_orchestrator_place",
            "sets choices and kinds of an argument ($1 command, $2 how many stand before it)",
            '"$1:$2"',
            [line for command in tree.commands for line in _places(command)],
        ),
        _BODY,
    ]
    return "\n".join(parts)


def _function(name: str, says: str, subject: str, lines: list[str]) -> str:
    inside = "\n".join(f"        {line}" for line in [*lines, "*) return 1 ;;"])
    return f"{name}() {{\n    # {says}\n    case {subject} in\n{inside}\n    esac\n}}\n"


def _names(tree: Tree) -> list[str]:
    return [f"{'|'.join((command.name, *command.aliases))}) echo {command.name} ;;" for command in tree.commands]


def _option_words(tree: Tree) -> list[str]:
    def line(pattern: str, options: tuple[Option, ...]) -> str:
        return f"{pattern}) options='{' '.join(name for option in options for name in option.names)}' ;;"

    return [line("''", tree.options), *(line(command.name, command.options) for command in tree.commands)]


def _option_values(tree: Tree) -> list[str]:
    lines = [_setting(_pattern("", option), option.value) for option in tree.options if option.value is not None]
    for command in tree.commands:
        lines += [_setting(_pattern(command.name, option), option.value) for option in command.options if option.value]
    return lines


def _pattern(command: str, option: Option) -> str:
    return "|".join(f"{command}:{name}" for name in option.names)


def _places(command: Command) -> list[str]:
    last = len(command.places) - 1
    return [
        _setting(f"{command.name}:{'*' if command.repeats and index == last else index}", value)
        for index, value in enumerate(command.places)
    ]


def _setting(pattern: str, value: Value) -> str:
    return f"{pattern}) choices='{' '.join(value.choices)}' kinds='{' '.join(value.kinds)}' ;;"
