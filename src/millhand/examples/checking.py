"""What an exercise is made of: a task, and checks that say what a solution lacks.

An exercise is a module in `exercises/`: its docstring is the task, FUNCTION names the function that solves it, and
each of its `check_...` functions tries one claim, which is its docstring. Checks never fail a right solution, however
busy the machine; a wrong one might pass by luck.
"""

from __future__ import annotations

import importlib
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from millhand.core.clock import Seconds

PATIENCE: Seconds = 3.0
"""How long a check waits for what a right solution brings in no time."""

Solve: TypeAlias = Callable[..., Any]
Check: TypeAlias = Callable[[Solve], None]


class NotYet(Exception):
    """This says what a solution lacks."""


@dataclass(frozen=True, slots=True)
class Exercise:
    """This is an exercise: what to do, what the function that does it is called, and the claims about it."""

    title: str
    task: str
    function: str
    checks: dict[str, Check]


def require(fact: object, why: str) -> None:
    """Raise NotYet, with the reason, unless this is a fact."""
    if not fact:
        raise NotYet(why)


def meet(others: threading.Barrier) -> bool:
    """Wait until as many calls are in here as the barrier wants; return False if they do not come."""
    try:
        return others.wait(PATIENCE) >= 0
    except threading.BrokenBarrierError:
        return False


def load(title: str) -> Exercise:
    """Import an exercise."""
    module = importlib.import_module(f"millhand.examples.exercises.{title}")
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    found = [value for value in own if value.__name__.startswith("check_")]
    checks = {(check.__doc__ or check.__name__).partition("\n")[0].rstrip("."): check for check in found}
    return Exercise(title, module.__doc__ or "", module.FUNCTION, checks)


def lack(check: Check, solve: Solve, file: str | None) -> str:
    """Run a check; return what the solution, which stands in this file, lacks; nothing if it lacks nothing."""
    try:
        check(solve)
    except NotYet as missing:
        return str(missing)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what a reader's function raises is shown, and ends nothing
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        where = f" (line {lines[-1]})" if lines else ""
        return f"it raised {type(error).__name__}: {error}{where}"
    return ""


def demonstrate(title: str) -> None:
    """Print the task of an exercise, and what its checks say of the solution in `exercises/solutions`.

    Raises:
        NotYet: the solution does not pass.
    """
    exercise = load(title)
    print(exercise.task)
    solution = importlib.import_module(f"millhand.examples.exercises.solutions.{title}")
    for claim, check in exercise.checks.items():
        why = lack(check, getattr(solution, exercise.function), solution.__file__)
        require(not why, f"{claim}: {why}")
        print(f"ok: {claim}")
