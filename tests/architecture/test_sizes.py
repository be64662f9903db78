"""Modules and functions stay small enough to read, and are named for what they do."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "millhand"
MODULES = sorted(PACKAGE.rglob("*.py"))

MODULE_LIMIT = 400
FUNCTION_LIMIT = 50
SAYS_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "misc"}

EXCEPTIONS: dict[str, str] = {}
"""Modules that may be named as the standard library's are: path under src/millhand -> reason. So far none has to be."""


def oversized_functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := length(node)) > FUNCTION_LIMIT:
            yield node.name, lines


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function, signature and body, without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    docstring = function.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def name_of(module: Path) -> str:
    """Return what a module is called: a package by its folder."""
    return module.parent.name if module.name == "__init__.py" else module.stem


def test_no_module_has_more_than_400_lines():
    counted = {str(module.relative_to(PACKAGE)): len(module.read_text().splitlines()) for module in MODULES}

    assert {name: lines for name, lines in counted.items() if lines > MODULE_LIMIT} == {}


def test_no_function_has_more_than_50_lines():
    too_long = [
        f"{module.relative_to(PACKAGE)}: {name} has {lines} lines"
        for module in MODULES
        for name, lines in oversized_functions(ast.parse(module.read_text()))
    ]

    assert too_long == []


def test_no_module_has_a_name_that_says_nothing():
    assert [str(module.relative_to(PACKAGE)) for module in MODULES if name_of(module) in SAYS_NOTHING] == []


def test_no_module_is_named_like_one_of_the_standard_library():
    named_alike = {str(module.relative_to(PACKAGE)) for module in MODULES if name_of(module) in sys.stdlib_module_names}

    assert sorted(named_alike - EXCEPTIONS.keys()) == []


@pytest.mark.parametrize("lines", [FUNCTION_LIMIT, FUNCTION_LIMIT + 1])
def test_a_docstring_does_not_count_as_length(lines):
    body = ["    '''One.", "    Two.'''", *["    pass"] * (lines - 1)]

    found = list(oversized_functions(ast.parse("\n".join(["def long():", *body]))))

    assert found == ([] if lines == FUNCTION_LIMIT else [("long", lines)])
