"""The cells of a matrix: the axes, what is left out, what is added, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_samples import completed, problems, write

from orchestrator.cli.arguments import build_parser
from orchestrator.cli.matrix import with_axes
from orchestrator.codec import decode, encode
from orchestrator.errors import TopologyError, UsageError
from orchestrator.fleet.cells import Cell, cells_of
from orchestrator.topology.read_matrix import Entry, Matrix, load_matrix

AXES = """\
[matrix]
variants = ["small", "big"]
images = ["debian", "nixos"]
layers.app = ["one", "two"]
suites = ["suite"]
shards = 2
exclude = [{ variant = "big", images = "nixos" }, { layers = { app = "two" }, images = "nixos" }]

[[matrix.include]]
variant = "big"
images = "nixos"
shards = 1

[layers.app]
source = "standin"
target = "/opt/app"

[variants.small]
[variants.big]
"""


def names(matrix: Matrix) -> list[str]:
    return [cell.id for cell in cells_of(matrix)]


def test_axes_are_multiplied_then_some_are_left_out_and_some_added(tmp_path: Path) -> None:
    matrix = load_matrix(write(tmp_path, completed(AXES)))
    found = cells_of(matrix)
    assert [cell.id for cell in found] == [
        "small+debian+app-one+suite+1of2",
        "small+debian+app-one+suite+2of2",
        "small+debian+app-two+suite+1of2",
        "small+debian+app-two+suite+2of2",
        "small+nixos+app-one+suite+1of2",
        "small+nixos+app-one+suite+2of2",
        "big+debian+app-one+suite+1of2",
        "big+debian+app-one+suite+2of2",
        "big+debian+app-two+suite+1of2",
        "big+debian+app-two+suite+2of2",
        "big+nixos",
    ]
    assert [cell.number for cell in found] == list(range(1, 12))
    assert found[0].words() == [
        "--images=debian",
        "--variant=small",
        f"--layer=app={tmp_path / 'one'}",
        f"--suite={tmp_path / 'suite'}",
        "--shard=1/2",
    ]
    assert found[0].whole == found[1].whole != found[2].whole, "shards of the same tests belong together"
    assert found[0].variables()["ORCH_LAYER_APP"] == str(tmp_path / "one")


def test_without_a_matrix_there_is_one_cell_that_is_a_plain_run(tmp_path: Path) -> None:
    (cell,) = cells_of(load_matrix(write(tmp_path, completed(""))))
    assert (cell.id, cell.words()) == ("cell", ["--images=auto"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('variants = ["smal"]', 'variant "smal" in the matrix is not defined (did you mean "small"?)'),
        ('variants = ["small", "small"]', 'variant "small" is in the matrix twice'),
        ('images = ["debain"]', 'provider of images "debain" in the matrix is not defined (did you mean "debian"?)'),
        ('layers.ap = ["x"]', 'layer "ap" in the matrix is not defined (did you mean "app"?)'),
        ("shards = 0", '"shards" in the matrix: expected an integer from 1 to 1000, found'),
        ("exclude = [{}]", "says nothing, and would leave out every cell"),
        ('include = [{ variant = "x" }]', 'variant "x" in item 1 of "include" is not defined'),
        ('exclude = [{ shard = "1/2" }]', '"shard" is not a key of item 1 of "exclude"'),
        ("command = []", 'expected a command like ["psql", "-c", "select 1"], found no program'),
    ],
)
def test_mistakes_have_their_place_in_every_command(tmp_path: Path, text: str, expected: str) -> None:
    rest = AXES.partition("[layers.app]")[2]
    file = write(tmp_path, completed(f"[matrix]\n{text}\n[layers.app]{rest}"))
    found = problems(file)
    assert len(found) == 1 and expected in found[0] and found[0].startswith("orchestrator.toml:"), found
    with pytest.raises(TopologyError) as caught:
        load_matrix(file)
    assert len(caught.value.evidence) == 1


def test_a_matrix_without_a_cell_or_with_one_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="has no cell"):
        cells_of(Matrix(variants=("a",), exclude=(Entry(variant="a"),)))
    with pytest.raises(UsageError, match="two cells of the matrix are the same"):
        cells_of(Matrix(variants=("a",), include=(Entry(variant="a"),)))
    with pytest.raises(UsageError, match="the matrix has 10100 cells"):
        cells_of(Matrix(variants=tuple(f"v{n}" for n in range(101)), shards=100))


def test_cells_of_the_same_name_are_told_apart_by_their_numbers() -> None:
    matrix = Matrix(suites=(Path("/a/suite"), Path("/b/suite"), Path("/c/other")))
    assert names(matrix) == ["suite.1", "suite.2", "other"]
    assert names(Matrix(suites=(Path("/a/odd name!"),))) == ["odd-name"]


def test_axes_of_the_command_line_replace_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    matrix = load_matrix(write(tmp_path, completed(AXES)))
    words = ["matrix", "--variant", "big", "--layer", "app=x", "--app", "y", "--shards", "1"]
    changed = with_axes(matrix, build_parser().parse_args(words))
    assert names(changed) == ["big+debian+app-x+suite", "big+debian+app-y+suite"], "exclude still counts, include not"
    assert with_axes(matrix, build_parser().parse_args(["matrix"])) == matrix


@pytest.mark.parametrize("words", [["--shards", "0"], ["--shards", "1001"], ["--images", "x"], ["--layer", "app"]])
def test_values_that_mean_nothing_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["matrix", *words])
    assert caught.value.code == 2
    assert words[1] in capsys.readouterr().err


def test_a_cell_travels_as_plain_data() -> None:
    cell = Cell(3, "x", "v", "debian", {"app": Path("/a")}, Path("/s"), "1/2")
    assert decode(encode(cell), Cell, "cell") == cell
