"""`judge` on files of readers: right ones, wrong ones, and such as never come to an end."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from millhand.examples.exercises import priority
from millhand.examples.exercises.solutions import priority as solution
from millhand.examples.judge import judge

pytestmark = pytest.mark.slow


@pytest.fixture
def write(tmp_path):
    def write(text):
        file = tmp_path / "mine.py"
        file.write_text(textwrap.dedent(text))
        return file

    return write


def test_a_right_solution_passes_every_check(write, capfd):
    mine = write(Path(solution.__file__).read_text() + "\nprint('hello')")

    verdicts = judge(mine)

    assert [(verdict.exercise, verdict.ok, verdict.why) for verdict in verdicts] == [("priority", True, "")] * 3
    assert verdicts[0].claim == priority.check_order.__doc__.rstrip(".")
    assert capfd.readouterr() == ("", "hello\n")  # what a solution prints is not the judge's answer


def test_one_file_may_solve_many_exercises_and_a_failure_names_the_line(write):
    mine = write("""
        def sort_outcomes(work, items):
            return {}, items / 2
        def as_they_come(work, items):
            return [(item, work(item)) for item in items if item != "slow"]
    """)

    verdicts = judge(mine)

    assert {verdict.exercise for verdict in verdicts} == {"results", "error_handling"}
    raised = [verdict.why for verdict in verdicts if verdict.exercise == "error_handling"]
    assert raised == ["it raised TypeError: unsupported operand type(s) for /: 'list' and 'int' (line 3)"] * 3
    assert [verdict.ok for verdict in verdicts if verdict.exercise == "results"] == [True, False]


def test_a_solution_that_ends_the_program_does_not_pass(write):
    verdicts = judge(write("import os\ndef run_all(work, items, workers): os._exit(7)"))

    assert [(verdict.ok, verdict.why) for verdict in verdicts] == [
        (False, "the program ended in the middle of it, with exit code 7")
    ]


def test_a_thread_that_a_solution_has_left_behind_does_not_hold_up_the_verdict(write):
    """It did, until the time limit, which is longer than that of this test."""
    endless = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"

    verdicts = judge(write(endless + "def as_they_come(work, items): return [(item, len(item)) for item in items]"))

    assert all(verdict.ok for verdict in verdicts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1", r"it defines none of the functions that are asked for: run_all \(basic\), feed \(buffered\)"),
        ("def", "it cannot be run: SyntaxError"),
        ("import nowhere", "it cannot be run: ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(3)", "it cannot be run: SystemExit: 3"),
        ("import os; os._exit(3)", "ended in the middle of it, with exit code 3"),
    ],
)
def test_a_file_that_solves_nothing_is_refused(write, text, why):
    with pytest.raises(ValueError, match=why):
        judge(write(text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        judge(tmp_path / "mine.py")


def test_a_file_that_never_ends_is_killed_with_all_that_it_has_started(write):
    with pytest.raises(ValueError, match=r"it still ran after 0\.5 s"):
        judge(write("import subprocess; subprocess.run(['sleep', '60'])"), time_limit=0.5)
