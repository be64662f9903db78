"""`import millhand` loads the rooms that need nothing but the standard library, and no heavy part of that."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = {
    "asyncio",
    "granian",
    "http",
    "msgspec",
    "multiprocessing",
    "rich",
    "sqlite3",
    "ssl",
    "starlette",
    "typer",
}
LIGHT_ROOMS = {"core", "policy", "pool", "flow"}
PROGRAM = "import sys, millhand, json; print(json.dumps(sorted(sys.modules)))"


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The names of all modules that a fresh interpreter holds after `import millhand`."""
    # A measured child holds what coverage itself imports, sqlite3 among it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, timeout=15, check=False
    )
    assert child.returncode == 0, child.stderr
    return set(json.loads(child.stdout))


def test_import_millhand_loads_nothing_heavy(loaded):
    assert sorted(HEAVY & loaded) == []


def test_import_millhand_loads_only_the_light_rooms(loaded):
    rooms = {name.split(".")[1] for name in loaded if name.startswith("millhand.")}

    assert "core" in rooms, "millhand/__init__.py exports nothing, so this test would see nothing"
    assert rooms <= LIGHT_ROOMS
