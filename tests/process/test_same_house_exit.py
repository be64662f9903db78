"""Programs with a pool of processes end as those with a pool of threads do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.process.house import KINDS, eventually

pytestmark = pytest.mark.slow

HEAD = """
import sys, threading, time
from millhand import ProcessPool, ThreadPool
Pool = {kind}
"""
IN_TIME = 2.0
MACHINE = 3.0
"""What this machine may add when others use it, too."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return KINDS[request.param].__name__


class Program:
    """Runs a program in a process group of its own, and measures from its first line of output to its end."""

    def __init__(self, kind: str, text: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HEAD.format(kind=kind) + text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def await_line(self, line: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == line
        self._begin = time.monotonic()

    def interrupt(self) -> None:
        """Send what a terminal sends: to the whole group."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self) -> tuple[str, str, int]:
        try:
            out, err = self._process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            pytest.fail("the program hangs")
        return out, err, self._process.returncode

    @property
    def took(self) -> float:
        return time.monotonic() - self._begin

    def has_left_nobody(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return True
        return False


READY = """
with Pool(2) as pool:
    for future in [pool.submit(time.sleep, 0.5) for _ in range(2)]: future.result()
"""
"""Both processes have begun: one that is about to has a traceback of its own to show for a Ctrl-C."""

BUSY = (
    READY
    + """
    for _ in range(2): pool.submit(time.sleep, 30)
    waiting = [pool.submit(print, "never") for _ in range(1_000)]
    print("full", flush=True)
"""
)


@pytest.mark.parametrize("body", ["    time.sleep(30)\n", "    waiting[-1].result()\n", "    pass\n"])
def test_control_c_ends_the_program_soon_with_one_traceback(kind: str, body: str) -> None:
    program = Program(kind, BUSY + body)
    program.await_line("full")

    program.interrupt()
    out, err, code = program.end()

    assert program.took < IN_TIME + MACHINE
    assert (err.count("Traceback"), err.rstrip().splitlines()[-1]) == (1, "KeyboardInterrupt")
    assert (out, code) == ("", -signal.SIGINT)
    assert eventually(program.has_left_nobody)


def test_control_c_in_a_map_ends_the_program_soon_with_one_traceback(kind: str) -> None:
    program = Program(kind, READY + "    for _ in pool.map(time.sleep, [0, 0, 30, 30]): print(1, flush=True)\n")
    program.await_line("1")

    program.interrupt()
    _, err, code = program.end()

    assert program.took < IN_TIME + MACHINE
    assert (err.count("Traceback"), err.rstrip().splitlines()[-1]) == (1, "KeyboardInterrupt")
    assert code == -signal.SIGINT


@pytest.mark.parametrize("exit_", ["1 / 0", "sys.exit(3)"])
def test_a_body_that_raises_ends_the_program_soon(kind: str, exit_: str) -> None:
    program = Program(kind, BUSY + f"    {exit_}\n")
    program.await_line("full")

    _, err, code = program.end()

    assert program.took < IN_TIME + MACHINE
    assert (err.count("Traceback"), code) == ((1, 1) if "/" in exit_ else (0, 3))
    assert eventually(program.has_left_nobody)


def test_what_was_submitted_runs_before_the_program_ends(kind: str) -> None:
    program = Program(
        kind,
        "pool = Pool(2)\nfor n in range(100): pool.submit(print, f'{n}\\n', end='', flush=True)\n"
        "pool.with_options(priority=1, timeout=60).submit(print, 'urgent\\n', end='', flush=True)\n",
    )

    out, err, code = program.end()

    assert sorted(out.split()) == sorted([*map(str, range(100)), "urgent"])
    assert (err, code) == ("", 0)


def test_sys_exit_outside_of_a_with_runs_what_was_submitted(kind: str) -> None:
    program = Program(
        kind,
        "pool = Pool(1)\nfor n in range(50): pool.submit(print, f'{n}\\n', end='', flush=True)\nsys.exit(4)\n",
    )

    out, err, code = program.end()

    assert (len(out.split()), err, code) == (50, "", 4)


def test_a_paused_pool_does_not_keep_the_program_from_ending(kind: str) -> None:
    program = Program(
        kind,
        "pool = Pool(2)\npool.submit(int).result()\npool.pause()\n"
        "for n in range(5): pool.submit(print, f'{n}\\n', end='', flush=True)\n",
    )

    out, err, code = program.end()

    assert (sorted(out.split()), err, code) == (list("01234"), "", 0)


def test_a_submit_while_the_interpreter_ends_is_refused(kind: str) -> None:
    program = Program(
        kind,
        "import atexit\npool, fresh = Pool(1), Pool(1)\npool.submit(int).result()\n"
        "def last():\n"
        "    for each in pool, fresh:\n"
        "        try: each.submit(print, 'never')\n"
        "        except RuntimeError as error: print(error)\n"
        "atexit.register(last)\n",
    )

    assert program.end() == ("cannot schedule new futures after interpreter shutdown\n" * 2, "", 0)
