"""CPython's own tests of ThreadPoolExecutor pass with ThreadPool in its place.

They are not copied here: an interpreter brings its own, unless it was installed without its tests. So this
looks at every interpreter of a supported version on this machine, beside the one that runs pytest.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

import millhand

SKIPS: dict[str, str] = {}
"""What ThreadPool does not pass: `Class.method` -> the private attribute that the test wants. None so far."""

VERSIONS = ("3.11", "3.12", "3.13")
PROGRAM = Path(__file__).with_name("cpython.py")
LOOK = (
    "import sys, importlib.util\n"
    "wanted = '{}.{}'.format(*sys.version_info) == sys.argv[1]\n"
    "sys.exit(not (wanted and importlib.util.find_spec('test.test_concurrent_futures')))"
)
PARTS = 4  # the tests mostly sleep: 28 s in a row, 12 s in four processes side by side
LIMIT = 60.0  # seconds for each of these

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


@dataclass
class Outcomes:
    """This is how the tests of one interpreter ended, by `Class.method`."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, report: str) -> None:
        part = json.loads(report.splitlines()[-1])
        self.passed += part["passed"]
        self.failed |= part["failed"]
        self.skipped |= part["skipped"]


@pytest.fixture(scope="module", params=VERSIONS)
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    python = find_python(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} on this machine was installed with test.test_concurrent_futures")
    return run_suite(python)


def test_cpythons_own_tests_pass_but_for_the_published_ones(outcomes: Outcomes) -> None:
    unexpected = [f"{name}: {text}" for name, text in outcomes.failed.items() if name not in SKIPS]

    assert not unexpected, "\n\n".join(unexpected)


def test_what_is_published_as_failing_fails(outcomes: Outcomes) -> None:
    assert sorted(SKIPS.keys() - outcomes.failed.keys()) == []


def test_the_suite_was_really_run(outcomes: Outcomes) -> None:
    assert len(outcomes.passed) >= 40
    assert any("shutdown" in name for name in outcomes.passed)


def test_at_most_three_are_published_as_failing() -> None:
    assert len(SKIPS) <= 3


@pytest.mark.skipif("CI" not in os.environ, reason="a laptop may have no Python with its tests; the CI must")
def test_the_ci_has_a_python_with_its_tests() -> None:
    assert any(find_python(version) for version in VERSIONS)


@cache
def find_python(version: str) -> str | None:
    """Return an interpreter that has the suite; one on the path may be a stand-in that runs nothing."""
    for candidate in candidates(version):
        look = subprocess.run([candidate, "-I", "-c", LOOK, version], capture_output=True, timeout=20, check=False)
        if look.returncode == 0:
            return candidate
    return None


def candidates(version: str) -> Iterator[str]:
    yield sys.executable
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))


def run_suite(python: str) -> Outcomes:
    outcomes = Outcomes()
    processes = [start_part(python, part) for part in range(PARTS)]
    try:
        for process in processes:
            report, progress = process.communicate(timeout=LIMIT + 15)
            assert process.returncode == 0, f"{python} died, or hung for {LIMIT:g} s:\n{progress}"
            outcomes.add(report)
    finally:
        for process in processes:
            end_with_children(process)
    return outcomes


def start_part(python: str, part: int) -> subprocess.Popen[str]:
    # Without what would have it measured: the interpreter need not have coverage.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(Path(millhand.__file__).parents[1])
    return subprocess.Popen(
        [python, "-P", str(PROGRAM), str(LIMIT), str(part), str(PARTS)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a script of the suite that hangs is a grandchild, and is to end with it
    )


def end_with_children(process: subprocess.Popen[str]) -> None:
    if process.returncode != 0:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
