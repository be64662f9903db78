from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

BUSY = """
import os, signal, sys, threading, time
from millhand import ThreadPool
ran = []
pool = ThreadPool(2, {options})
entered = threading.Event()
def stuck():
    entered.set()
    time.sleep(30)
def fill():
    pool.submit(stuck)
    assert entered.wait(5)
    pool.submit(stuck)
    for n in range(10_000): pool.submit(ran.append, n)
    print("full", flush=True)
"""
IN_TIME = 2.0
MACHINE = 3.0
"""What this machine may add when others use it, too."""


class Program:
    """Runs a program, and measures from its first line of output to its end."""

    def __init__(self, text: str, options: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", BUSY.format(options=options) + text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.first = self._process.stdout.readline().strip()
        self._begin = time.monotonic()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[str, str, int]:
        try:
            out, err = self._process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            pytest.fail("the program hangs")
        self.took = time.monotonic() - self._begin
        return out, err, self._process.returncode


@pytest.mark.parametrize("options", ["", "order='lifo'", "queue_size=None"])
def test_an_exception_in_the_with_body_ends_the_program_soon(options: str) -> None:
    program = Program("with pool:\n    fill()\n    1 / 0\n", options)

    _, err, code = program.end()

    assert "ZeroDivisionError" in err
    assert code == 1
    assert program.took < IN_TIME + MACHINE


def test_sys_exit_in_the_with_body_ends_the_program_soon_with_its_code() -> None:
    program = Program("with pool:\n    fill()\n    sys.exit(3)\n")

    assert program.end() == ("", "", 3)
    assert program.took < IN_TIME + MACHINE


@pytest.mark.parametrize(
    "body",
    [
        "    time.sleep(30)\n",
        "    pool.submit(int).result()\n",
        "    [future for future in pool.map(stuck, timeout=30)] or pool.submit(int).result()\n",
        "    pass\n",  # it waits at the end of the body
    ],
)
def test_control_c_ends_the_program_soon_wherever_it_waits(body: str) -> None:
    """At the end of the body, it waits for 10,000 calls; the first version went on with them at the exit."""
    program = Program("with pool:\n    fill()\n" + body)
    assert program.first == "full"

    program.interrupt()
    _, err, code = program.end()

    assert err.rstrip().endswith("KeyboardInterrupt")
    assert code == -signal.SIGINT
    assert program.took < IN_TIME + MACHINE


def test_a_second_control_c_does_not_wait_for_the_grace_of_the_first() -> None:
    program = Program(
        "try:\n    with pool:\n        fill()\n        time.sleep(30)\nfinally:\n    print('out', flush=True)\n"
    )
    program.interrupt()
    time.sleep(0.2)  # the program cannot say that it is in its grace
    program.interrupt()

    _, err, code = program.end()

    assert "KeyboardInterrupt" in err
    assert code == -signal.SIGINT
    assert program.took < IN_TIME + MACHINE


def test_a_blocked_submit_can_be_interrupted() -> None:
    program = Program("with pool:\n    fill()\n    pool.submit(int)\n", "queue_size=10_000")
    assert program.first == "full"

    program.interrupt()
    _, err, _ = program.end()

    assert err.rstrip().endswith("KeyboardInterrupt")
    assert program.took < IN_TIME + MACHINE


def run(text: str) -> tuple[str, str, int]:
    text = "import threading\nfrom millhand import ThreadPool\n" + text
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=15, check=False)
    return done.stdout, done.stderr, done.returncode


def test_falling_off_the_end_runs_what_was_submitted() -> None:
    out, err, code = run("pool = ThreadPool(2)\nfor n in range(500): pool.submit(print, f'{n}\\n', end='')\n")

    assert (sorted(map(int, out.split())), err, code) == (list(range(500)), "", 0)


def test_sys_exit_outside_of_a_with_runs_what_was_submitted() -> None:
    out, err, code = run("import sys\npool = ThreadPool(1)\nfor n in range(50): pool.submit(print, n)\nsys.exit(4)\n")

    assert (len(out.split()), err, code) == (50, "", 4)


@pytest.mark.parametrize("order", ["fifo", "lifo", "fair"])
def test_a_paused_pool_does_not_keep_the_program_from_ending(order: str) -> None:
    """Found by reading: its workers waited for a resume that nobody could give any more."""
    out, err, code = run(
        f"pool = ThreadPool(2, order={order!r})\n"
        "pool.submit(int).result()\npool.pause()\n"
        "for n in range(5): pool.submit(print, f'{n}\\n', end='')\n"
    )

    assert (sorted(out.split()), err, code) == (list("01234"), "", 0)


def test_a_thread_that_was_written_off_does_not_keep_the_program_from_ending() -> None:
    begin = time.monotonic()
    out, err, code = run(
        "import time\npool = ThreadPool(1)\n"
        "print(type(pool.with_options(timeout=0.05).submit(time.sleep, 30).exception()).__name__)\n"
        "pool.submit(print, 'behind')\n"
    )

    assert (out.split(), err, code) == (["TaskTimeout", "behind"], "", 0)
    assert time.monotonic() - begin < IN_TIME + MACHINE


def test_what_waits_for_its_time_does_not_keep_the_program_from_ending() -> None:
    begin = time.monotonic()
    out, err, code = run(
        "pool = ThreadPool(1)\n"
        "view = pool.with_options(timeout=60, total_timeout=60)\n"
        "print(view.submit(int).result())\n"
        "view.submit(print, 'last')\n"
    )

    assert (out.split(), err, code) == (["0", "last"], "", 0)
    assert time.monotonic() - begin < IN_TIME + MACHINE


def test_calls_may_submit_while_the_program_ends() -> None:
    out, err, code = run(
        "begin = threading.Event()\n"
        "pool = ThreadPool(1)\n"
        "def late():\n"
        "    begin.wait(5)\n"
        "    try: pool.submit(print, 'never')\n"
        "    except RuntimeError: print('refused')\n"
        "pool.submit(late)\n"
        "threading.Timer(0.2, begin.set).start()\n"
    )

    assert err == ""
    assert code == 0
    assert out in ("refused\n", "never\n")


def test_the_exit_leaves_no_process_behind() -> None:
    program = Program("with pool:\n    fill()\n    raise SystemExit(0)\n")
    program.end()

    with pytest.raises(ProcessLookupError):
        os.kill(program._process.pid, 0)  # noqa: SLF001 - this file's own class
