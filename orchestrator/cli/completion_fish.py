"""The fish completion script."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.cli.completion_tree import Option, Tree, Value

_HEAD = """\
# fish completion of orchestrator; made by `orchestrator completion fish`

function __orchestrator_names
    # The words of some kinds, as the host knows them.
    set -l tokens (commandline -opc)
    set -l context
    for i in (seq 2 (count $tokens))
        switch $tokens[$i]
            case -n --name --file
                test $i -lt (count $tokens); and set -a context $tokens[$i] $tokens[(math $i + 1)]
            case '--name=*' '--file=*'
                set -a context $tokens[$i]
        end
    end
    $tokens[1] $context completion names 2>/dev/null | while read -d \\t kind word
        contains -- $kind $argv; and echo $word
    end
end

function __orchestrator_place
    # Whether the command is one of $argv[1] (commas between) and, where told, $argv[2] arguments stand before
    # the cursor; "+" after the number: or more.
    set -l tokens (commandline -opc)
    set -l command
    set -l place 0
    set -l pending no
    for token in $tokens[2..-1]
        if test $pending = yes
            set pending no
        else if test "$token" = --
            return 1
        else if string match -q -- '-*' "$token"
            contains -- "$command:$token" $__orchestrator_valued; and set pending yes
        else if test -z "$command"
            set command $token
        else
            set place (math $place + 1)
        end
    end
    contains -- "$command" (string split , -- $argv[1]); or return 1
    test -z "$argv[2]"; and return 0
    test $pending = no; or return 1
    string match -q -- '*+' $argv[2]; and test $place -ge (string trim -r -c + -- $argv[2]); and return 0
    test "$place" = "$argv[2]"
end
"""


def script(tree: Tree) -> str:
    """The script, for fish's folder of completions."""
    return "\n".join([_HEAD, "\n".join(_lines(tree)), ""])


def _lines(tree: Tree) -> Iterator[str]:
    valued = [f":{name}" for option in tree.options if option.value for name in option.names]
    for command in tree.commands:
        for own in (command.name, *command.aliases):
            valued += [f"{own}:{name}" for option in command.options if option.value for name in option.names]
    yield f"set -g __orchestrator_valued {' '.join(valued)}"
    yield "complete -c orchestrator -f"
    first = _quote("__orchestrator_place '' 0")
    for option in tree.options:
        yield _option("__orchestrator_place ''", option)
    for command in tree.commands:
        own_names = ",".join((command.name, *command.aliases))
        for name in (command.name, *command.aliases):
            yield f"complete -c orchestrator -n {first} -a {name} -d {_quote(command.help)}"
        for option in command.options:
            yield _option(f"__orchestrator_place {own_names}", option)
        last = len(command.places) - 1
        for index, value in enumerate(command.places):
            place = f"{index}+" if command.repeats and index == last else str(index)
            condition = _quote(f"__orchestrator_place {own_names} {place}")
            yield f"complete -c orchestrator -n {condition} {_value(value)}"


def _option(condition: str, option: Option) -> str:
    words = ["complete -c orchestrator", f"-n {_quote(condition)}"]
    words += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    words.append(f"-d {_quote(option.help)}")
    if option.value is not None:
        words.append("-r " + _value(option.value))
    return " ".join(words)


def _value(value: Value) -> str:
    if {"file", "side"} & set(value.kinds):
        machines = " -a '(__orchestrator_names machine | string replace -r \\$ :)'" if "side" in value.kinds else ""
        return "-F" + machines
    if "folder" in value.kinds:
        return "-f -a '(__fish_complete_directories)'"
    if value.kinds:
        return f"-f -a '(__orchestrator_names {' '.join(value.kinds)})'"
    return f"-f -a {_quote(' '.join(value.choices))}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
