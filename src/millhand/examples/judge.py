"""The judge of the exercises: runs the checks on a reader's file, in a process of its own, within a time limit.

A file solves the exercises whose functions it defines, so it need not say which.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from millhand.core.clock import Seconds
from millhand.examples.checking import lack, load
from millhand.examples.gallery import SECTIONS, finish

TIME_LIMIT: Seconds = 30.0
"""When a solution that still runs is killed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """This is what came of one check."""

    exercise: str
    claim: str
    ok: bool
    why: str = ""


def judge(file: Path, *, time_limit: Seconds = TIME_LIMIT) -> list[Verdict]:
    """Run all checks of the exercises that a reader's file solves; what the file prints goes to stderr.

    Raises:
        ValueError: the file cannot be run, or solves nothing; the message says why.
    """
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    command = [sys.executable, "-P", "-m", "millhand.examples.judge", str(file.resolve())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True) as child:
        said, _, in_time = finish(child, time_limit)
    end = f"the program ended in the middle of it, with exit code {child.returncode}"
    if not in_time:
        end = f"it still ran after {time_limit:g} s: does something wait for what never comes?"
    events = [json.loads(line) for line in said.splitlines()]
    verdicts = [Verdict(**event) for event in events if "ok" in event]
    if not events or "problem" in events[0]:
        raise ValueError(f"{file}: {events[0]['problem'] if events else end}")
    if "ok" not in events[-1]:  # a check that began has not ended
        verdicts.append(Verdict(**events[-1], ok=False, why=end))
    return verdicts


def _judge_here(file: str, out: TextIO) -> None:
    """Run the file and its checks in this process; tell of each when it begins and when it has ended, as JSON."""

    def tell(**event: object) -> None:
        print(json.dumps(event), file=out, flush=True)

    sys.path.insert(0, str(Path(file).parent))  # as if it had been run
    try:
        names = runpy.run_path(file, run_name="solution")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever is wrong with the file is told, and ends nothing
        tell(problem=f"it cannot be run: {type(error).__name__}: {error}")
        return
    exercises = [load(title) for title in SECTIONS["exercises"]]
    solved = [exercise for exercise in exercises if exercise.function in names]
    if not solved:
        wanted = ", ".join(f"{exercise.function} ({exercise.title})" for exercise in exercises)
        tell(problem=f"it defines none of the functions that are asked for: {wanted}")
    for exercise in solved:
        for claim, check in exercise.checks.items():
            tell(exercise=exercise.title, claim=claim)
            why = lack(check, names[exercise.function], file)
            tell(exercise=exercise.title, claim=claim, ok=not why, why=why)


if __name__ == "__main__":
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        _judge_here(sys.argv[1], answers)
    sys.stderr.flush()
    os._exit(0)  # a thread that the solution has left behind must not hold up the verdict
