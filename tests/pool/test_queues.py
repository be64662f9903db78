from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, cast

import pytest

from millhand.pool.options import Options
from millhand.pool.queues import TOKEN, Item, Line
from millhand.pool.task import Task


def task(priority: int = 0) -> Task:
    """A task that belongs to nobody: a line looks only at its options and at the time of its submission."""
    options = Options(priority=priority) if priority else None
    return Task(int, (), {}, cast("Any", None), None, options)


class Taker:
    """A line and the one worker that takes from it, in the test's own thread."""

    def __init__(self, size: int | None, **settings: Any) -> None:
        self.taken = 0
        self.items: SimpleQueue[Item] = SimpleQueue()
        self.line = Line(self.items, size, lambda: self.taken, **settings)

    def put(self, task: Task) -> Task:
        assert next(self.line.places, False) or self.line.issue_place()
        self.line.put(task)
        return task

    def take(self) -> Task | None:
        item = self.items.get_nowait()
        task = self.line.best(item) if self.line.ordered else item
        if task is not None:
            self.taken += 1
            if self.line.bell:
                self.line.ring()
        return task


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
    taker.line.keep_order()
    urgent, lazy, urgent_too, late = (taker.put(task(priority)) for priority in (5, -5, 5, 0))

    assert [taker.take() for _ in range(7)] == [urgent, urgent_too, *plain, late, lazy]


def test_a_priority_can_be_changed_only_while_the_task_waits() -> None:
    taker = Taker(None)
    first, second, third = (taker.put(task()) for _ in range(3))
    taken = taker.take()

    changed = [taker.line.reprioritise(each, 3) for each in (first, second, third)]
    again = taker.line.reprioritise(second, -3)

    assert taken is first
    assert (changed, again) == ([False, True, True], True)
    assert [taker.take(), taker.take()] == [third, second]
    assert not taker.line.reprioritise(third, 9)


def test_a_plain_task_that_comes_out_after_the_switch_is_ordered_then() -> None:
    """A submit may look for `put`, be put aside, and put its task only after the switch."""
    taker = Taker(None)
    taker.line.keep_order()
    urgent, straggler = taker.put(task(5)), task()
    assert taker.items.get_nowait() is TOKEN

    first = taker.line.best(straggler)
    second = taker.line.best(TOKEN)

    assert (first, second) == (urgent, straggler)


def test_a_straggler_stands_in_the_order_when_somebody_is_dropped() -> None:
    taker = Taker(None, ordered=True)
    straggler, newcomer = task(), task()
    taker.items.put(straggler)

    assert taker.line.swap_lowest(newcomer) is newcomer
    assert taker.take() is straggler


def test_a_token_behind_the_wake_up_of_a_closing_line_is_not_forgotten() -> None:
    """A submit that raced with the close overtook a task, withdrew, and left it without a token before the None."""
    taker = Taker(None)
    taker.line.keep_order()
    plain = taker.put(task())
    taker.line.close()
    urgent = taker.put(task(1))

    assert [taker.take(), taker.take()] == [urgent, None]
    assert taker.line.has_ordered()
    assert taker.take() is plain
    assert not taker.line.has_ordered()


def test_two_first_priorities_at_once_leave_one_token_for_each_task() -> None:
    """Found by the stress test: a token that the switch took out of the queue went into the heap like a task."""

    class Interrupted(SimpleQueue[Item]):
        """Lets another submit in between the two steps of the switch: that it is ordered, and that it is emptied."""

        def get_nowait(self) -> Item:
            if others:
                line.keep_order()
                line.put(others.pop())
            return super().get_nowait()

    other, plain, urgent = task(1), task(), task(2)
    others = [other]
    items = Interrupted()
    line = Line(items, None, lambda: 0)
    line.put(plain)

    line.keep_order()
    line.put(urgent)

    assert [line.best(items.get_nowait()) for _ in range(3)] == [urgent, other, plain]
    assert not line.has_ordered()


def test_nobody_may_leave_while_the_switch_holds_tasks_in_its_hands() -> None:
    """Found by the stress test: a worker met the None just then, left, and the tasks were never run."""
    answers: list[bool] = []
    asking: list[threading.Thread] = []

    class Watched(SimpleQueue[Item]):
        """Has somebody ask, in the middle of the switch, whether he may leave."""

        def get_nowait(self) -> Item:
            if self.empty():
                asking.append(threading.Thread(target=lambda: answers.append(line.has_ordered())))
                asking[-1].start()
                asking[-1].join(0.02)
            return super().get_nowait()

    line = Line(Watched(), None, lambda: 0)
    line.put(task())

    line.keep_order()
    asking[0].join()

    assert answers == [True]


def test_the_switch_keeps_every_wake_up_behind_the_tasks() -> None:
    """Found by reading: of several workers that were to be woken, one was."""
    taker = Taker(None)
    taker.items.put(None)
    plain = taker.put(task())
    taker.items.put(None)

    taker.line.keep_order()

    assert [taker.take() for _ in range(3)] == [plain, None, None]


def test_a_wake_up_passes_through_an_ordered_line() -> None:
    taker = Taker(None, ordered=True)
    taker.put(task(1))

    assert taker.line.best(None) is None


@pytest.mark.parametrize("ordered", [False, True])
def test_draining_takes_everything_out(ordered: bool) -> None:
    taker = Taker(None, ordered=ordered)
    tasks = {taker.put(task(priority)) for priority in range(3)}
    taker.line.close()

    assert set(taker.line.drain()) == tasks
    assert taker.line.drain() == []


@pytest.mark.parametrize("ordered", [False, True])
def test_a_swap_puts_the_newcomer_in_the_place_of_another(ordered: bool) -> None:
    taker = Taker(2, ordered=ordered)
    oldest, second = taker.put(task()), taker.put(task())
    newcomer, lowest = task(), task(-1)

    assert taker.line.swap_oldest(newcomer) is oldest
    assert taker.line.swap_lowest(lowest) is lowest
    assert taker.line.waiting() == 2
    assert [taker.take(), taker.take()] == [second, newcomer]


@pytest.mark.parametrize("ordered", [False, True])
def test_wake_ups_go_behind_the_tasks_before_anybody_leaves(ordered: bool) -> None:
    """Found by the state machine: several shrinks of a busy crew, then its end: all left at wake-ups before a task."""
    taker = Taker(None, ordered=ordered)
    taker.items.put(None)
    tasks = [taker.put(task()) for _ in range(2)]
    taker.line.close()
    assert taker.take() is None

    assert taker.line.regroup()
    assert [taker.take() for _ in range(3)] == [*tasks, None]
    assert not taker.line.regroup()


def test_a_swap_finds_nothing_where_only_wake_ups_are() -> None:
    taker = Taker(1, ordered=True)
    taker.items.put(None)

    assert taker.line.swap_oldest(task()) is None
    assert taker.take() is None


def test_what_is_given_back_waits_in_its_old_place() -> None:
    taker = Taker(None)
    straggler = taker.put(task())
    assert taker.items.get_nowait() is straggler
    taker.line.keep_order()
    later, urgent = taker.put(task()), taker.put(task(1))
    token = taker.items.get_nowait()

    taker.line.give_back(straggler)
    taker.line.give_back(token)

    assert taker.line.reprioritise(later, -1)
    assert [taker.take() for _ in range(3)] == [urgent, straggler, later]


def test_a_new_size_holds_at_once_for_more_and_for_less() -> None:
    taker = Taker(2)
    taker.put(task())
    taker.put(task())

    taker.line.resize(3)
    more = [taker.line.issue_place() for _ in range(2)]
    taker.line.resize(1)
    for _ in range(2):
        taker.take()
    less = taker.line.issue_place()

    assert (more, less) == ([True, False], False)
    assert taker.line.admitted() == 3


def test_more_places_wake_all_who_wait_for_one() -> None:
    """Found by reading: `resize` made places, and told nobody."""
    taker = Taker(1)
    taker.put(task())
    waiters = [waiter(taker.line) for _ in range(2)]
    while not taker.line.bell:
        pass

    taker.line.resize(3)
    for thread, _ in waiters:
        thread.join(5)

    assert [answers for _, answers in waiters] == [[True], [True]]


def test_who_asks_for_a_place_is_called_when_one_is_free_and_when_the_line_closes() -> None:
    taker = Taker(1)
    calls: list[str] = []
    taker.line.ask_for_place(lambda: calls.append("at once"))
    taker.put(task())

    for name in ("ring", "close"):
        taker.line.ask_for_place(lambda name=name: calls.append(name))  # type: ignore[misc]  # a default keeps the name
    before = list(calls)
    taker.take()
    after = list(calls)
    taker.line.close()

    assert (before, after, calls) == (["at once"], ["at once", "ring"], ["at once", "ring", "close"])


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
