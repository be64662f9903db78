"""What is written about millhand holds: docstrings are there, errors cross processes, the README's programs run."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import pickle
import re
import subprocess
import sys
import textwrap
import types
import typing
from pathlib import Path

import pytest

from millhand.core import errors

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src" / "millhand").rglob("*.py"))
README = ROOT / "README.md"

ERRORS = sorted(
    (item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, errors.MillhandError)),
    key=lambda error: error.__name__,
)

SAMPLES: dict[object, object] = {
    bool: True,
    bytes: b"bytes",
    dict: {"key": 1},
    float: 1.5,
    int: 3,
    list: ["one", "two"],
    object: "anything",
    str: "text",
    tuple: ("one", "two"),
    typing.Any: "anything",
}

FENCE = re.compile(r"^(?P<before>[^\n]*)\n(?P<indent> *)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.M | re.S)
NOT_RUN = re.compile(r"\s*<!-- not run: \S.* -->\s*")


def sample(annotation: object) -> object:
    """Make a value for a constructor's argument of this type."""
    kind = typing.get_origin(annotation) or annotation
    if kind in (types.UnionType, typing.Union):
        return sample(typing.get_args(annotation)[0])
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return kind(*[sample(hint) for hint in typing.get_type_hints(kind).values()])
    if kind in SAMPLES:
        return SAMPLES[kind]
    return pytest.fail(f"no sample for {annotation!r} yet; add one to SAMPLES")


def example(error: type[errors.MillhandError]) -> errors.MillhandError:
    """Make an error of this class, with a value for each argument that its constructor names."""
    if "__init__" not in {
        name for parent in error.__mro__ if parent.__module__ == errors.__name__ for name in vars(parent)
    }:
        return error("text")
    hints = typing.get_type_hints(error.__init__)
    parameters = list(inspect.signature(error).parameters.values())
    assert all(parameter.kind is not parameter.KEYWORD_ONLY for parameter in parameters), "would not unpickle"
    return error(*[sample(hints[parameter.name]) for parameter in parameters])


def programs(text: str) -> list[tuple[int, str]]:
    """Return (line, code) of each python block that is to be run."""
    return [
        (text.count("\n", 0, found.start("code")) + 1, textwrap.dedent(found["code"]))
        for found in FENCE.finditer("\n" + text)
        if not NOT_RUN.fullmatch(found["before"])
    ]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(module):
    assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_crosses_processes_whole(error):
    sent = example(error)

    received = pickle.loads(pickle.dumps(sent))

    assert type(received) is error
    assert vars(received) == vars(sent)
    assert (received.args, str(received)) == (sent.args, str(sent))


@pytest.mark.slow
@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("line", "code"),
    programs(README.read_text()) if README.exists() else [],
    ids=lambda value: f"line-{value}" if isinstance(value, int) else "",
)
def test_every_program_in_the_readme_runs(line, code, tmp_path):
    script = tmp_path / f"readme_line_{line}.py"
    script.write_text(code)
    # Not measured: what a reader would run is shown here, not which lines it reaches.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    child = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=20, check=False
    )

    assert child.returncode == 0, f"README.md, line {line}:\n{child.stdout}\n{child.stderr}"


def test_a_block_is_left_out_only_with_a_reason():
    fence = "```"
    text = (
        f"{fence}python\nfirst = 1\n{fence}\n"
        f"<!-- not run: needs a server -->\n{fence}python\nsecond = 2\n{fence}\n"
        f"<!-- not run: -->\n{fence}python\nthird = 3\n{fence}\n"
        f"{fence}sh\nmake run\n{fence}\n"
        f"- in a list\n  {fence}python\n  fourth = 4\n  {fence}\n"
    )

    assert programs(text) == [(2, "first = 1\n"), (10, "third = 3\n"), (17, "fourth = 4\n")]
