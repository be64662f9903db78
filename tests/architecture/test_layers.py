"""Every import under src/millhand goes along an arrow that the design draws, wherever the import stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "millhand"

FRONT = "millhand"  # the package's own __init__.py

MAY_IMPORT: dict[str, set[str]] = {
    FRONT: {"core", "policy", "pool", "flow"},
    "core": set(),
    "codec": {"core"},
    "policy": {"core"},
    "pool": {"core", "policy"},
    "flow": {"core", "policy", "pool"},
    "jobs": {"core", "codec", "policy"},
    "runner": {"core", "codec", "policy", "pool", "jobs"},
    "wire": {"core", "codec"},
    "server": {"core", "jobs", "wire"},
    "client": {"core", "codec", "policy", "wire"},
    "remote": {"client", "pool"},
    "dashboard": {"core", "jobs", "server"},
    "supervisor": {"core", "jobs"},
    "testing": {"core", "pool", "jobs", "runner"},
}
"""What each room (a folder or module directly under millhand) may import, and nothing else."""

ANYTHING_PUBLIC = {"integrations", "examples", "cli"}
"""Rooms that may import every other room, but no private name."""


def violations(package: Path) -> list[str]:
    """Return one line for each import that follows no arrow, as `path:line: what`."""
    return [
        f"{path.relative_to(package)}:{line}: {fault}"
        for path in sorted(package.rglob("*.py"))
        for line, module, name in imports(ast.parse(path.read_text()), parents(path, package))
        if (fault := judge(room_of(path, package), target_of(module, name, package), module, name))
    ]


def judge(room: str, target: str | None, module: str, name: str) -> str | None:
    """Say what is wrong with an import that stands in `room`, or None."""
    wanted = f"{module}.{name}" if name else module
    if room not in MAY_IMPORT and room not in ANYTHING_PUBLIC:
        return f"{room} is no room of the design; give it a line in its section 2 and in this table"
    if target is None or target == room:
        return None
    if room not in ANYTHING_PUBLIC and target not in MAY_IMPORT[room]:
        return f"{room} may not import {target} ({wanted})"
    if any(part.startswith("_") and not part.endswith("__") for part in wanted.split(".")):
        return f"{room} imports the private {wanted} from another room"
    return None


def imports(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, name) of every import in the file, at the top or deep inside a function."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name, "") for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                start = package[: len(package) - level + 1] if level else []
                origin = ".".join([*start, *([module] if module else [])])
                yield from ((node.lineno, origin, alias.name) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module, ""


def parents(path: Path, package: Path) -> list[str]:
    """Return the dotted package that a relative import in this file starts from."""
    return [FRONT, *path.relative_to(package).parts[:-1]]


def room_of(path: Path, package: Path) -> str:
    first = path.relative_to(package).parts[0]
    return FRONT if first == "__init__.py" else first.removesuffix(".py")


def target_of(module: str, name: str, package: Path) -> str | None:
    """Return the room that an import reaches, or None if it reaches outside millhand."""
    top, *rest = module.split(".")
    if top != FRONT:
        return None
    if rest:
        return rest[0]
    is_room = name in MAY_IMPORT or name in ANYTHING_PUBLIC or (package / name).is_dir()
    return name if name and (is_room or (package / f"{name}.py").exists()) else FRONT


def test_every_import_follows_an_arrow_of_the_design():
    assert violations(PACKAGE) == []


def test_the_table_names_no_room_twice_and_no_unknown_room():
    rooms = MAY_IMPORT.keys() | ANYTHING_PUBLIC

    assert not MAY_IMPORT.keys() & ANYTHING_PUBLIC
    assert set().union(*MAY_IMPORT.values()) <= rooms


@pytest.fixture
def house(tmp_path):
    """A tiny package whose arrows are all right."""
    files = {
        "__init__.py": "from millhand.core.job import Job",
        "core/job.py": "import json",
        "policy/retry.py": "from millhand.core import job",
        "pool/pool.py": "from millhand.policy.retry import Retry",
        "cli/main.py": "import millhand\nfrom millhand import pool",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_right_arrows_are_accepted(house):
    assert violations(house) == []


def test_an_arrow_that_is_turned_round_is_seen(house):
    (house / "core" / "job.py").write_text("import json\nfrom millhand.pool.pool import Pool")

    assert violations(house) == ["core/job.py:2: core may not import pool (millhand.pool.pool.Pool)"]


@pytest.mark.parametrize(
    "text",
    [
        "import millhand.pool",
        "import json, millhand.pool.pool",
        "from millhand import pool",
        "from ..pool import pool",
        "from .. import pool",
        "def late():\n    from millhand.pool import pool",
        "if TYPE_CHECKING:\n    from millhand.pool import pool",
        "import importlib\nimportlib.import_module('millhand.pool')",
        "from millhand import *",
    ],
)
def test_no_form_of_import_hides_a_wrong_arrow(house, text):
    (house / "core" / "job.py").write_text(text)

    assert len(violations(house)) == 1


def test_a_room_that_the_design_does_not_know_is_refused(house):
    (house / "attic.py").write_text("import millhand.core")

    assert len(violations(house)) == 1


def test_a_private_name_stays_in_its_room_even_for_those_who_may_import_anything(house):
    (house / "cli" / "main.py").write_text("from millhand.pool.pool import _Secret")

    assert violations(house) == ["cli/main.py:1: cli imports the private millhand.pool.pool._Secret from another room"]
