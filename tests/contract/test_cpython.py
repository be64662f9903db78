"""CPython's own tests of its executors pass with ThreadPool and ProcessPool in their places.

They are not copied here: an interpreter brings its own, unless it was installed without its tests. So this
looks at every interpreter of a supported version on this machine, beside the one that runs pytest.
"""

from __future__ import annotations

import json
import os
import re
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

SKIPS: dict[str, dict[str, str]] = {
    "ThreadPool": {},
    "ProcessPool": {
        "ProcessPoolShutdownTest.test_context_manager_shutdown": "_processes",
        "ProcessPoolShutdownTest.test_del_shutdown": "_executor_manager_thread",
        "ProcessPoolExecutorTest.test_idle_process_reuse_multiple": "_processes",
        "ProcessPoolExecutorTest.test_idle_process_reuse_one": "_processes",
        "ProcessPoolExecutorTest.test_killed_child": "_processes; also, a process that dies does not break the pool",
        "ProcessPoolExecutorTest.test_max_tasks_per_child": "_processes; with fork, it is allowed",
        "ProcessPoolExecutorTest.test_max_tasks_per_child_defaults_to_spawn_context": "_mp_context",
        "ExecutorDeadlockTest.test_shutdown_deadlock_pickle": "_executor_manager_thread; submit refuses",
        "ProcessPoolShutdownTest.test_shutdown_no_wait": "_executor_manager_thread",
        "ProcessPoolShutdownTest.test_processes_terminate": "_processes; submit refuses a local function",
        "ProcessPoolExecutorTest.test_saturation": "_processes; submit refuses a lock",
        "ExecutorDeadlockTest.test_error_at_task_pickle": "submit itself raises it",
        "ExecutorDeadlockTest.test_error_at_task_unpickle": "the call fails with what was raised",
        "ExecutorDeadlockTest.test_exit_at_task_unpickle": "the call fails with what was raised",
        "ExecutorDeadlockTest.test_error_during_result_unpickle_in_result_handler": "the call fails with NotPicklable",
        "ExecutorDeadlockTest.test_exit_during_result_unpickle_in_result_handler": "the call fails with NotPicklable",
    },
}
"""What does not pass: `Class.method` -> the private attribute that it wants, or what is another way on purpose."""

MAY_FAIL = {
    "ProcessPoolShutdownTest.test_cancel_futures": "wants a call that has begun while the first process still starts",
}
"""What passes on some machines, or with some start methods, only."""

VERSIONS = ("3.11", "3.12", "3.13")
PROGRAM = Path(__file__).with_name("cpython.py")
LOOK = (
    "import sys, importlib.util\n"
    "wanted = '{}.{}'.format(*sys.version_info) == sys.argv[1]\n"
    "sys.exit(not (wanted and importlib.util.find_spec('test.test_concurrent_futures')))"
)
PARTS = 4  # the tests mostly sleep: those of threads take 28 s in a row, 12 s in four processes; of processes 50 s
LIMIT = 120.0  # seconds for each of these
START = re.compile("^ProcessPool(Forkserver|Fork|Spawn)")
"""What the suite puts in front of a class's name for each way to start a process."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT + 30)]


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


@pytest.fixture(scope="module", params=SKIPS)
def name(request: pytest.FixtureRequest) -> str:
    """Of our class."""
    return str(request.param)


@pytest.fixture(scope="module", params=VERSIONS)
def outcomes(name: str, request: pytest.FixtureRequest) -> Outcomes:
    python = find_python(request.param)
    if python is None:
        pytest.skip(f"no Python {request.param} on this machine was installed with test.test_concurrent_futures")
    return run_suite(python, name)


def test_cpythons_own_tests_pass_but_for_the_published_ones(name: str, outcomes: Outcomes) -> None:
    known = SKIPS[name] | MAY_FAIL
    unexpected = [f"{test}: {text}" for test, text in outcomes.failed.items() if START.sub("", test) not in known]

    assert not unexpected, "\n\n".join(unexpected)


def test_what_is_published_as_failing_fails(name: str, outcomes: Outcomes) -> None:
    failed = {START.sub("", test) for test in outcomes.failed}

    assert sorted(SKIPS[name].keys() - failed) == []


def test_the_suite_was_really_run(name: str, outcomes: Outcomes) -> None:
    assert len(outcomes.passed) >= (40 if name == "ThreadPool" else 100)
    assert any("hutdown" in test for test in outcomes.passed)


def test_at_most_three_of_threads_are_published_as_failing() -> None:
    assert len(SKIPS["ThreadPool"]) <= 3


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


def run_suite(python: str, name: str) -> Outcomes:
    outcomes = Outcomes()
    processes = [start_part(python, name, part) for part in range(PARTS)]
    try:
        for process in processes:
            report, progress = process.communicate(timeout=LIMIT + 15)
            assert process.returncode == 0, f"{python} died, or hung for {LIMIT:g} s:\n{progress}"
            outcomes.add(report)
    finally:
        for process in processes:
            end_with_children(process)
    return outcomes


def start_part(python: str, name: str, part: int) -> subprocess.Popen[str]:
    # Without what would have it measured: the interpreter need not have coverage.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment["PYTHONPATH"] = str(Path(millhand.__file__).parents[1])
    return subprocess.Popen(
        [python, "-P", str(PROGRAM), name, str(LIMIT), str(part), str(PARTS)],
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
