from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from millhand.pool.queues import TOKEN, Item, Line
from millhand.pool.stats import Counter
from millhand.pool.task import Task

CANCELS = Counter()


def task() -> Task:
    return Task(int, (), {}, CANCELS)


class Taker:
    """A line and the one worker that takes from it, in the test's own thread."""

    def __init__(self, size: int | None) -> None:
        self.taken = 0
        self.line = Line(SimpleQueue[Item](), size, lambda: self.taken)

    def put(self, task: Task) -> Task:
        assert next(self.line.places, False) or self.line.issue_place()
        self.line.put(task)
        return task

    def take(self) -> Task | None:
        item = self.line.take(block=False)
        if item is None:
            return None
        item = self.line.best(item) if self.line.ranked else item
        self.taken += 1
        if self.line.bell:
            self.line.ring()
        return item


def waiter(line: Line, is_over: Callable[[], bool] = lambda: False) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(line.wait_for_place(is_over)))
    thread.start()
    return thread, answers


def test_first_come_first_served() -> None:
    taker = Taker(10)
    tasks = [taker.put(task()) for _ in range(10)]

    assert [taker.take() for _ in range(10)] == tasks


def test_there_are_exactly_as_many_places_as_the_size_says() -> None:
    taker = Taker(3)

    taken = [next(taker.line.places, False) or taker.line.issue_place() for _ in range(5)]

    assert taken == [True, True, True, False, False]
    assert (taker.line.admitted(), taker.line.waiting()) == (3, 3)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_taken_task_frees_exactly_one_place(size: int) -> None:
    taker = Taker(size)
    for _ in range(size):
        taker.put(task())

    for _ in range(3 * size):
        assert not taker.line.issue_place()
        taker.take()
        taker.put(task())

    assert taker.line.waiting() == size


def test_unbounded_has_always_a_place() -> None:
    line = Taker(None).line

    assert all(next(line.places, False) for _ in range(1_000))
    assert line.admitted() == 1_000


def test_whoever_waits_for_a_place_gets_the_one_that_becomes_free() -> None:
    taker = Taker(1)
    taker.put(task())
    thread, answers = waiter(taker.line)
    while not taker.line.bell:
        pass

    taker.take()
    thread.join()

    assert answers == [True]


def test_two_waiters_get_two_places() -> None:
    taker = Taker(2)
    taker.put(task())
    taker.put(task())
    waiters = [waiter(taker.line) for _ in range(2)]

    taken = 0
    while any(thread.is_alive() for thread, _ in waiters):
        if taker.line.bell and taken < 2:
            taker.take()
            taken += 1

    assert [answers for _, answers in waiters] == [[True], [True]]
    assert taker.line.waiting() == 2


def test_closing_sends_those_away_who_wait_for_a_place() -> None:
    over = threading.Event()
    taker = Taker(1)
    taker.put(task())
    waiters = [waiter(taker.line, over.is_set) for _ in range(3)]

    over.set()
    taker.line.close()
    for thread, _ in waiters:
        thread.join()

    assert [answers for _, answers in waiters] == [[False]] * 3


def test_a_higher_priority_overtakes_and_equals_stay_in_order() -> None:
    taker = Taker(None)
    plain = [taker.put(task()) for _ in range(3)]
    urgent, urgent_too, lazy, late = task(), task(), task(), task()
    taker.line.put_ranked(urgent, 5)
    taker.line.put_ranked(lazy, -5)
    taker.line.put_ranked(urgent_too, 5)
    taker.line.put_ranked(late, 0)

    assert [taker.take() for _ in range(7)] == [urgent, urgent_too, *plain, late, lazy]


def test_a_plain_task_that_comes_out_after_the_switch_is_ranked_then() -> None:
    """A submit may look at `ranked`, be put aside, and put its task only after the switch."""
    taker = Taker(None)
    urgent, straggler = task(), task()
    taker.line.put_ranked(urgent, 5)
    assert taker.line.take(block=False) is TOKEN

    first = taker.line.best(straggler)
    second = taker.line.best(TOKEN)

    assert (first, second) == (urgent, straggler)


def test_a_token_behind_the_wake_up_of_a_closing_line_is_not_forgotten() -> None:
    """A submit that raced with the close overtook a task, withdrew, and left it without a token before the None."""
    taker = Taker(None)
    plain = taker.put(task())
    taker.line.close()
    urgent = task()
    taker.line.put_ranked(urgent, 1)

    assert [taker.take(), taker.take()] == [urgent, None]
    assert taker.line.has_ranked()
    assert taker.take() is plain
    assert not taker.line.has_ranked()


def test_two_first_priorities_at_once_leave_one_token_for_each_task() -> None:
    """Found by the stress test: a token that the switch took out of the queue went into the heap like a task."""

    class Interrupted(SimpleQueue[Item]):
        """Lets another submit in between the two steps of the switch: that it is ranked, and that it is emptied."""

        def get_nowait(self) -> Item:
            if others:
                line.put_ranked(others.pop(), 1)
            return super().get_nowait()

    other, plain, urgent = task(), task(), task()
    others = [other]
    line = Line(Interrupted(), None, lambda: 0)
    line.put(plain)

    line.put_ranked(urgent, 2)

    assert [line.best(line.take(block=False)) for _ in range(3)] == [urgent, other, plain]
    assert not line.has_ranked()


def test_nobody_may_leave_while_the_switch_holds_tasks_in_its_hands() -> None:
    """Found by the stress test: a worker met the None just then, left, and the tasks were never run."""
    answers: list[bool] = []
    asking: list[threading.Thread] = []

    class Watched(SimpleQueue[Item]):
        """Has somebody ask, in the middle of the switch, whether he may leave."""

        def get_nowait(self) -> Item:
            if self.empty():
                asking.append(threading.Thread(target=lambda: answers.append(line.has_ranked())))
                asking[-1].start()
                asking[-1].join(0.02)
            return super().get_nowait()

    line = Line(Watched(), None, lambda: 0)
    line.put(task())

    line.put_ranked(task(), 1)
    asking[0].join()

    assert answers == [True]


def test_a_wake_up_passes_through_a_ranked_line() -> None:
    taker = Taker(None)
    taker.line.put_ranked(task(), 1)

    assert taker.line.best(None) is None


@pytest.mark.parametrize("priority", [None, 1])
def test_draining_takes_everything_out(priority: int | None) -> None:
    taker = Taker(None)
    tasks = {taker.put(task()) for _ in range(3)}
    if priority is not None:
        tasks.add(urgent := task())
        taker.line.put_ranked(urgent, priority)
    taker.line.close()

    assert set(taker.line.drain()) == tasks
    assert taker.line.drain() == []


def test_waiting_that_is_interrupted_passes_the_ring_on() -> None:
    """Two wait, one ring comes, and the one who is woken leaves by an exception: the other must get the place."""
    taker = Taker(1)
    taker.put(task())
    interrupted = threading.Event()

    def interrupt() -> bool:
        if taker.taken:
            interrupted.set()
            raise KeyboardInterrupt
        return False

    def wait_badly() -> None:
        with pytest.raises(KeyboardInterrupt):
            taker.line.wait_for_place(interrupt)

    taker.line.issue_place = lambda: False if threading.current_thread() is bad else original()  # type: ignore[method-assign]  # one sees no place
    original = Line.issue_place.__get__(taker.line)
    bad = threading.Thread(target=wait_badly)
    bad.start()
    while not taker.line.bell:
        pass
    good, answers = waiter(taker.line)

    taker.take()
    bad.join()
    good.join()

    assert interrupted.is_set()
    assert answers == [True]
