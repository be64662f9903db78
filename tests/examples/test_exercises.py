"""Each exercise accepts its solution, and each of its checks refuses one that is wrong in just that."""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from millhand import ThreadPool
from millhand.examples import checking
from millhand.examples.checking import lack, load
from millhand.examples.exercises import results as results_exercise
from millhand.examples.exercises import timeout as timeout_exercise
from millhand.examples.exercises.solutions.error_handling import sort_outcomes
from millhand.examples.exercises.solutions.metrics import run_and_report
from millhand.examples.gallery import SECTIONS

TITLES = SECTIONS["exercises"]


@pytest.fixture
def impatient(monkeypatch):
    """Let checks wait only shortly for what a wrong solution never brings."""
    for module in (checking, results_exercise, timeout_exercise):
        monkeypatch.setattr(module, "PATIENCE", 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("title", TITLES)
def test_an_exercise_shows_its_task_and_that_its_solution_passes(title, capsys):
    exercise = load(title)

    importlib.import_module(f"millhand.examples.exercises.{title}").main()

    printed = capsys.readouterr().out
    assert printed.startswith(exercise.task)
    assert [line for line in printed.splitlines() if line.startswith("ok: ")] == [
        f"ok: {claim}" for claim in exercise.checks
    ]


@pytest.mark.parametrize("title", TITLES)
def test_a_task_shows_what_the_function_is_called_and_no_two_are_called_alike(title):
    exercise = load(title)

    assert f"    def {exercise.function}(" in exercise.task
    assert exercise.checks
    assert [load(other).function for other in TITLES].count(exercise.function) == 1


def one_by_one(work, items, *_):
    with ThreadPool(1) as pool:
        return [pool.submit(work, item).result() for item in items]


def with_too_many_threads(work, items, workers):
    with ThreadPool(workers + 2) as pool:
        return list(pool.map(work, items))


leaked = []


def without_an_end(work, items, workers):
    leaked.append(ThreadPoolExecutor(workers))
    return list(leaked[-1].map(work, items))


def without_a_bound(work, source, workers, waiting):
    with ThreadPool(workers) as pool:
        return len([pool.submit(work, item) for item in source])


def with_all_at_once(work, first, second, small, large):
    with ThreadPool(large) as pool:
        return list(pool.map(work, [*first, *second]))


def with_two_pools(work, first, second, small, large):
    with ThreadPool(small) as few:
        results = list(few.map(work, first))
        with ThreadPool(large) as many:
            return results + list(many.map(work, second))


def sorted_in_place(work, tickets):
    for _, name in sorted(tickets, key=lambda ticket: -ticket[0]):
        work(name)


def on_many_threads(work, tickets):
    met = threading.Barrier(2)
    with ThreadPool(2) as pool:
        for _ in range(2):
            pool.submit(met.wait)
        for _, name in tickets:
            pool.submit(lambda name=name: (work(name), met.wait(0.05)))


def in_order(work, items):
    with ThreadPool(10) as pool:
        yield from list(zip(items, pool.map(work, items), strict=True))


def until_the_first_error(work, items):
    with ThreadPool(4) as pool:
        try:
            return dict(zip(items, pool.map(work, items), strict=True)), {}
        except ValueError as error:
            return {}, {"": error}


def with_texts(work, items):
    results, errors = sort_outcomes(work, items)
    return results, {item: str(error) for item, error in errors.items()}


def without_stopping(work, items, seconds):
    """Wait no longer, and leave the slow ones to themselves: they end with the test."""
    pool = ThreadPoolExecutor(10)
    leaked.append(pool)
    results = []
    for future in [pool.submit(work, item) for item in items]:
        try:
            results.append(future.result(timeout=0.01))
        except TimeoutError:
            results.append(None)
    return results


def counted_too_early(work, items):
    with ThreadPool(4) as pool:
        pool.pause()
        for item in items:
            pool.submit(work, item)
        stats = pool.stats()
    return {"submitted": stats.submitted, "done": stats.done, "failed": stats.failed, "slowest": 0.0}


def with_the_number_of_calls(work, items):
    return run_and_report(work, items) | {"submitted": len(items) + 1}


WRONG = [
    ("basic", "results", lambda work, items, workers: [work(item) for item in reversed(items)]),
    ("basic", "together", one_by_one),
    ("basic", "bound", with_too_many_threads),
    ("basic", "end", without_an_end),
    ("buffered", "all", lambda work, source, workers, waiting: work(next(source))),
    ("buffered", "bound", without_a_bound),
    ("dynamic", "results", lambda work, first, second, small, large: one_by_one(work, [*second, *first])),
    ("dynamic", "small", with_all_at_once),
    ("dynamic", "large", lambda work, first, second, small, large: one_by_one(work, [*first, *second])),
    ("dynamic", "large", with_two_pools),
    ("priority", "order", lambda work, tickets: one_by_one(work, [name for _, name in tickets])),
    ("priority", "equals", lambda work, tickets: one_by_one(work, [name for _, name in reversed(tickets)])),
    ("priority", "thread", sorted_in_place),
    ("priority", "thread", on_many_threads),
    ("results", "pairs", lambda work, items: [(item, item) for item in items]),
    ("results", "order", in_order),
    ("error_handling", "results", until_the_first_error),
    ("error_handling", "errors", with_texts),
    ("error_handling", "all_bad", until_the_first_error),
    ("timeout", "quick", lambda work, items, seconds: [None for _ in items]),
    ("timeout", "slow", without_stopping),
    ("metrics", "counts", counted_too_early),
    ("metrics", "slowest", counted_too_early),
    ("metrics", "nothing", with_the_number_of_calls),
]


@pytest.mark.parametrize(("title", "check", "solve"), WRONG)
def test_a_check_refuses_what_is_wrong_and_says_so(title, check, solve, impatient, monkeypatch):
    module = importlib.import_module(f"millhand.examples.exercises.{title}")

    why = lack(getattr(module, f"check_{check}"), solve, __file__)

    while leaked:
        leaked.pop().shutdown(cancel_futures=True)
    assert why
    assert not why.startswith("it raised ")


def test_every_check_has_a_wrong_solution_here():
    tried = {(title, f"check_{check}") for title, check, _ in WRONG}

    assert tried == {(title, check.__name__) for title in TITLES for check in load(title).checks.values()}
