"""Each pool example prints what its docstring shows."""

from __future__ import annotations

import ast
import runpy
import textwrap
from pathlib import Path

import pytest

import millhand.examples

EXAMPLES = sorted(Path(millhand.examples.__file__).parent.glob("pool_*.py"))


def promised(example: Path) -> str:
    """Return the block that follows "Prints:" in a module's docstring."""
    docstring = ast.get_docstring(ast.parse(example.read_text())) or ""
    return textwrap.dedent(docstring.partition("Prints:\n\n")[2])


def test_there_are_six_of_them():
    names = [path.stem.removeprefix("pool_") for path in EXAMPLES]

    assert names == ["async", "group", "map", "parts", "priorities", "processes"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_docstring_shows(example, capsys):
    expected = promised(example)

    runpy.run_path(str(example), run_name="__main__")

    assert capsys.readouterr().out.splitlines() == expected.splitlines()
    assert expected


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_less_than_50_lines(example):
    assert len(example.read_text().splitlines()) < 50
