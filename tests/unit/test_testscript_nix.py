"""testScripts of Nix files: what Nix would make of the text, with the lines of the file."""

from __future__ import annotations

import pytest

from orchestrator.driver.testscript.nix_text import extract

TEST = """\
# testScript = ''a comment'';
{ pkgs, ... }:
{
  name = "demo"; /* testScript = ''no''; */
  nodes.machine = { environment.etc.x.text = ''
    testScript = ''''${nested}
  ''; };

  testScript = ''
    start_all()
    with subtest("costs ''${HOME} and $$ and '''quotes'''"):
        machine.succeed("true")

    machine.shutdown()
  '';
}
"""


def test_the_text_is_nixs() -> None:
    extracted = extract(TEST)
    assert extracted.problems == ()
    assert extracted.text.lstrip("\n") == (
        "start_all()\n"
        "with subtest(\"costs ${HOME} and $$ and ''quotes''\"):\n"
        '    machine.succeed("true")\n'
        "\n"
        "machine.shutdown()\n"
    )


def test_lines_are_those_of_the_file() -> None:
    lines = extract(TEST).text.splitlines()
    assert lines[TEST.splitlines().index("    start_all()")] == "start_all()"
    assert lines[TEST.splitlines().index("    machine.shutdown()")] == "machine.shutdown()"


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("testScript = ''start_all()'';", "start_all()"),
        ("testScript = { nodes, ... }: ''\n  a\n    b\n'';", "\n\n".removesuffix("\n") + "a\n  b\n"),
        ("testScript = args: ''\n\ta\n'';", "\n\ta\n"),  # only blanks are indentation
        ("testScript = ''\n    a\n\n  \n    b'';", "\na\n\n\nb"),
        ("testScript = ''\n  x = \"''\\n''\\t''\\$\"\n'';", '\nx = "\n\t$"\n'),
        ("testScript = ''\n  $${not} ''${bash}\n'';", "\n$${not} ${bash}\n"),
    ],
)
def test_indentation_and_escapes(text: str, script: str) -> None:
    extracted = extract(text)
    assert extracted.problems == ()
    assert extracted.text == script


def test_an_antiquotation_is_told_with_its_line() -> None:
    extracted = extract("{\n  testScript = ''\n    a\n    b ${pkgs.foo { x = \"}\"; }}/bin ${c}\n  '';\n}\n")
    assert [(problem.line, problem.symbol) for problem in extracted.problems] == [
        (4, '${pkgs.foo { x = "}"; }}'),
        (4, "${c}"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("{ nodes = { }; }", 1, "there is no"),
        ("{ testScript = import ./x.nix; }", 1, "there is no"),
        ("{ a.testScript = ''a'';\n b.testScript = ''b''; }", 2, "several, in lines 1, 2"),
    ],
)
def test_a_file_without_one_script(text: str, line: int, words: str) -> None:
    (problem,) = extract(text).problems
    assert problem.line == line
    assert words in problem.why
