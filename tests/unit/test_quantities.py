"""Durations and sizes mean the same wherever they are written."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from topology_samples import completed, one, write

from orchestrator.cli.argument_types import duration
from orchestrator.errors import ImageError
from orchestrator.images.recipe_load import load_recipe
from orchestrator.quantities import DURATIONS, MIB, parse_duration, parse_size
from orchestrator.topology.load import load_topology

GOOD_DURATIONS = {
    "90": 90.0,
    "0.5": 0.5,
    "90s": 90.0,
    "10m": 600.0,
    "1.5h": 5400.0,
    "1h30m": 5400.0,
    "1m30s": 90.0,
    "500ms": 0.5,
    "1s500ms": 1.5,
}
BAD_DURATIONS = ("", "s", "1s1m", "90 s", "-1", "1e3", "soon", "٣s", "1h 30m", "1234567890")
GOOD_SIZES = {"512MiB": 512 * MIB, "1GiB": 1024 * MIB, "1 GiB": 1024 * MIB, "1048576KiB": 1024 * MIB}
BAD_SIZES = ("512", "512M", "1.5GiB", "1GB", "GiB", "1  GiB", "-1GiB", "big")


@pytest.mark.parametrize(("text", "seconds"), GOOD_DURATIONS.items())
def test_a_duration_is_the_same_everywhere(text: str, seconds: float, tmp_path: Path) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert duration(text) == pytest.approx(seconds)
    service = f'[services.one]\nmachine = "server"\nunit = "one.service"\ntimeout = "{text}"\n'
    topology = load_topology(write(tmp_path, completed(service)))
    assert topology.services["one"].timeout == pytest.approx(seconds)


@pytest.mark.parametrize("text", BAD_DURATIONS)
def test_what_is_no_duration_is_none_anywhere(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a duration; write 90, 90s"):
        parse_duration(text)
    with pytest.raises(argparse.ArgumentTypeError, match="is not a duration; write 90, 90s"):
        duration(text)
    service = f'[services.one]\nmachine = "server"\nunit = "one.service"\ntimeout = "{text}"\n'
    assert "expected seconds" in one(tmp_path, service)


@given(st.dictionaries(st.sampled_from(list(DURATIONS)), st.integers(0, 999_999_999), min_size=1))
def test_parts_add_up(parts: dict[str, int]) -> None:
    text = "".join(f"{parts[unit]}{unit}" for unit in DURATIONS if unit in parts)
    assert parse_duration(text) == pytest.approx(sum(number * DURATIONS[unit] for unit, number in parts.items()))


def recipe(folder: Path, **values: object) -> Path:
    file = folder / "recipe.toml"
    lines = {"name": '"x"', "suite": '"trixie"', "size": '"1GiB"', "packages": "[]", **values}
    file.write_text("\n".join(f"{key} = {value}" for key, value in lines.items()))
    return file


@pytest.mark.parametrize(("text", "size"), GOOD_SIZES.items())
def test_a_size_is_the_same_everywhere(text: str, size: int, tmp_path: Path) -> None:
    assert parse_size(text) == size
    made = load_recipe(recipe(tmp_path, size=f'"{text}"', memory=f'"{text}"'))
    assert (made.size, made.memory) == (size, size // MIB)
    machine = f'[machines.one]\nimage = "server"\nmemory = "{text}"\n'
    assert load_topology(write(tmp_path, completed(machine))).machines["one"].memory == size // MIB


@pytest.mark.parametrize("text", BAD_SIZES)
def test_what_is_no_size_is_none_anywhere(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no size; write 512MiB or 2GiB"):
        parse_size(text)
    with pytest.raises(ImageError) as caught:
        load_recipe(recipe(tmp_path, size=f'"{text}"', memory=f'"{text}"'))
    assert [line.split('"')[1] for line in caught.value.evidence] == ["size", "memory"]
    assert "expected a size" in one(tmp_path, f'[machines.one]\nimage = "server"\nmemory = "{text}"\n')


def test_the_memory_of_a_recipe_has_its_unit(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        load_recipe(recipe(tmp_path, memory=768))
    assert "with its unit" in caught.value.evidence[0]
