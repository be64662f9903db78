from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Hashable, Iterable
from itertools import combinations, count
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from millhand.core.clock import Seconds
from millhand.policy.rank import rank
from millhand.pool.order import Fair, Lifo, Order, Ranked, make_order

AGEINGS = (None, 10.0)
priorities = st.integers(-3, 3)
instants = st.integers(0, 50).map(float)
keys = st.sampled_from("abc")
calls = st.tuples(priorities, instants, keys)
every_order = pytest.mark.parametrize(
    "order", [lambda: Ranked(10.0), lambda: Ranked(None), Lifo, lambda: Fair(10.0), lambda: Fair(None)]
)
NewOrder = Callable[[], Order]


class Entry:
    def __init__(self, task: Any, priority: int, ready_at: float, key: Hashable) -> None:
        self.task, self.priority, self.submitted_at, self.key = task, priority, ready_at, key
        self.turn: Any = None

    @property
    def live(self) -> bool:
        return self.turn is not None


def entry(task: Any = None, priority: int = 0, ready_at: float = 0.0, *, key: Any = None) -> Entry:
    return Entry(task, priority, ready_at, key)


def fill(order: Order, entries: Iterable[Entry]) -> Order:
    for item in entries:
        order.push(item)
    return order


def drain(order: Order) -> list[Any]:
    return [order.pop().task for _ in range(len(order))]


class Thing:
    """A task or a key that can be watched."""


# Against a model


class Model:
    """Says with nothing but sorting what an order does; entry.task is the number of its push."""

    def __init__(self, name: str, ageing: Seconds | None) -> None:
        self.name, self.ageing = name, ageing
        self.waiting: list[Entry] = []
        self.ring: list[Hashable] = []
        self.length_since: dict[Hashable, int] = {}
        self.dropping = False
        self.steps = count()

    def turn(self, item: Entry) -> tuple[float, ...]:
        if self.name == "lifo":
            return -item.priority, -item.task
        return *rank(item.priority, item.submitted_at, self.ageing), item.task

    def line(self, key: Hashable) -> list[Entry]:
        return sorted((item for item in self.waiting if item.key == key), key=self.turn)

    def push(self, item: Entry) -> None:
        self.waiting.append(item)
        self.length_since[item.key] = next(self.steps)
        if item.key not in self.ring:
            self.ring.append(item.key)

    def take(self, item: Entry) -> Entry:
        self.waiting.remove(item)
        self.length_since[item.key] = next(self.steps)
        if not self.line(item.key):
            self.ring.remove(item.key)
        return item

    def pop(self) -> Entry:
        if self.name != "fair":
            return self.take(min(self.waiting, key=self.turn))
        key = self.ring[0]
        self.ring.append(self.ring.pop(0))
        return self.take(self.line(key)[0])

    def start_dropping(self) -> None:
        if not self.dropping:
            self.dropping = True
            self.length_since = {key: next(self.steps) for key in self.ring}

    def oldest(self) -> Entry:
        self.start_dropping()
        among = self.waiting
        if self.name == "fair":
            among = self.line(min(self.ring, key=lambda key: (-len(self.line(key)), self.length_since[key])))
        return min(among, key=lambda item: item.task)

    def lowest(self) -> Entry:
        self.start_dropping()
        among = self.waiting
        if self.name == "fair":
            among = self.line(max(self.ring, key=lambda key: (len(self.line(key)), self.length_since[key])))
        return max(among, key=self.turn)


class OrderMoves(RuleBasedStateMachine):
    """Any sequence of moves leaves an order and its model with the same answers."""

    name: ClassVar[str]

    @initialize(ageing=st.sampled_from(AGEINGS))
    def start(self, ageing: Seconds | None) -> None:
        self.order: Order = make_order(self.name, ageing)  # type: ignore[arg-type]  # of the table below
        self.model = Model(self.name, ageing)
        self.entries: list[Entry] = []

    def something_waits(self) -> bool:
        return bool(self.model.waiting)

    def any_entry(self, data: st.DataObject) -> Entry:
        return data.draw(st.sampled_from(self.entries))

    @rule(calls=st.lists(calls, min_size=1, max_size=5))
    def push(self, calls: list[tuple[int, float, str]]) -> None:
        for priority, ready_at, key in calls:
            self.entries.append(entry(len(self.entries), priority, ready_at, key=key))
            self.order.push(self.entries[-1])
            self.model.push(self.entries[-1])

    @precondition(something_waits)
    @rule()
    def pop(self) -> None:
        assert self.order.pop() is self.model.pop()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), priority=priorities)
    def reprioritise(self, data: st.DataObject, priority: int) -> None:
        item = self.any_entry(data)
        before = item.priority

        changed = self.order.reprioritise(item, priority)

        assert changed == (item in self.model.waiting)
        assert item.priority == (priority if changed else before)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        item = self.any_entry(data)
        waits = item in self.model.waiting

        assert self.order.remove(item) == waits
        if waits:
            self.model.take(item)

    @precondition(something_waits)
    @rule()
    def remove_oldest(self) -> None:
        assert self.order.peek_oldest() is self.model.oldest()
        assert self.order.remove_oldest() is self.model.take(self.model.oldest())

    @precondition(something_waits)
    @rule()
    def remove_lowest(self) -> None:
        assert self.order.peek_lowest() is self.model.lowest()
        assert self.order.remove_lowest() is self.model.take(self.model.lowest())

    @invariant()
    def the_same_wait(self) -> None:
        if hasattr(self, "model"):
            assert len(self.order) == len(self.model.waiting)
            assert [item for item in self.entries if item.live] == self.model.waiting

    def teardown(self) -> None:
        if hasattr(self, "model"):
            assert drain(self.order) == [self.model.pop().task for _ in range(len(self.model.waiting))]


def moves(name: str) -> Any:
    machine: Any = type(f"{name.title()}Moves", (OrderMoves,), {"name": name})
    machine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
    return pytest.mark.slow(machine.TestCase)


TestRankedMoves = moves("fifo")
TestLifoMoves = moves("lifo")
TestFairMoves = moves("fair")


# What every order does


@every_order
def test_an_empty_order_has_nothing_to_give(order: NewOrder) -> None:
    empty = order()

    assert (len(empty), empty.peek_lowest(), empty.peek_oldest()) == (0, None, None)
    for take in (empty.pop, empty.remove_lowest, empty.remove_oldest):
        with pytest.raises(IndexError):
            take()


@every_order
def test_what_does_not_wait_cannot_be_changed_or_removed(order: NewOrder) -> None:
    waiting, popped, removed, never_pushed = entry(), entry(), entry(), entry()
    line = fill(order(), [popped])
    line.pop()
    fill(line, [removed, waiting])
    line.remove(removed)

    for item in (popped, removed, never_pushed):
        assert not item.live
        assert not line.reprioritise(item, 5)
        assert not line.remove(item)
    assert line.pop() is waiting
    assert len(line) == 0


@every_order
@settings(max_examples=25)
@given(calls=st.lists(st.tuples(calls, priorities), max_size=12))
def test_a_change_of_priority_equals_a_push_with_it(
    order: NewOrder, calls: list[tuple[tuple[int, float, str], int]]
) -> None:
    changed, pushed = order(), order()
    entries = [entry(number, call[0], call[1], key=call[2]) for number, (call, _) in enumerate(calls)]
    fill(changed, entries)

    for item, (_, priority) in zip(entries, calls, strict=True):
        assert changed.reprioritise(item, priority)
    fill(pushed, [entry(item.task, item.priority, item.submitted_at, key=item.key) for item in entries])

    assert drain(changed) == drain(pushed)


@every_order
def test_a_newcomer_that_is_the_lowest_comes_back(order: NewOrder) -> None:
    line = fill(order(), [entry(), entry()])
    lazy, urgent = entry(priority=-1), entry(priority=1)

    line.push(lazy)
    first = line.remove_lowest()
    line.push(urgent)
    second = line.remove_lowest()

    assert first is lazy
    assert second is not urgent


@pytest.mark.parametrize(("name", "kind"), [("fifo", Ranked), ("lifo", Lifo), ("fair", Fair)])
def test_an_order_has_a_name(name: Any, kind: type[Order]) -> None:
    assert type(make_order(name, 60.0)) is kind


def test_a_wrong_name_is_refused_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="one of fifo, lifo, fair, got 'random'"):
        make_order("random", 60.0)  # type: ignore[arg-type]  # what is tested


# By rank


@pytest.mark.parametrize("ageing", AGEINGS)
def test_equal_priorities_run_first_come_first_served(ageing: Seconds | None) -> None:
    line = fill(Ranked(ageing), (entry(number, ready_at=7.0) for number in range(20)))

    assert drain(line) == list(range(20))


def test_strict_means_that_no_waiting_makes_up_for_priority() -> None:
    line = fill(Ranked(None), [entry("low", 0, 0.0), entry("high", 1, 1e9)])

    assert drain(line) == ["high", "low"]


@given(low=priorities, levels=st.integers(0, 8), ageing=st.integers(1, 10))
def test_nothing_waits_behind_later_work_for_longer_than_its_levels_are_worth(
    low: int, levels: int, ageing: int
) -> None:
    """Each second one call of the higher priority comes, and one call runs: enough to starve the lower for good."""
    line = fill(Ranked(float(ageing)), [entry("low", low, 0.0)])

    for second in count():
        line.push(entry("high", low + levels, float(second)))
        if line.pop().task == "low":
            break

    assert second == levels * ageing


@pytest.mark.parametrize("ageing", AGEINGS)
def test_dropping_the_oldest_looks_at_the_push_and_not_at_the_rank(ageing: Seconds | None) -> None:
    line = fill(Ranked(ageing), [entry("first", 3, 5.0), entry("second", 0, 0.0), entry("third", -3, 9.0)])

    assert line.remove_oldest().task == "first"
    assert drain(line) == ["second", "third"]


# The newest first


def test_the_newest_runs_first_within_its_priority() -> None:
    line = fill(Lifo(), (entry(f"{priority} {number}", priority) for number in range(3) for priority in (0, 1)))

    assert drain(line) == ["1 2", "1 1", "1 0", "0 2", "0 1", "0 0"]


# Fair by key


@pytest.mark.slow
@given(moves=st.lists(st.one_of(st.none(), st.tuples(keys, priorities)), min_size=20, max_size=60))
def test_two_keys_that_both_wait_differ_by_one_call_at_most(moves: list[tuple[str, int] | None]) -> None:
    """None pops. Over each stretch in which both wait, the lead of one over the other stays within one call."""
    line, waiting = Fair(10.0), dict.fromkeys("abc", 0)
    leads = {pair: [0] for pair in combinations("abc", 2)}
    for now, move in enumerate(moves):
        if move is not None:
            line.push(entry(priority=move[1], ready_at=float(now), key=move[0]))
            waiting[move[0]] += 1
        elif line:
            served = str(line.pop().key)
            waiting[served] -= 1
            for (one, other), lead in leads.items():
                lead.append(lead[-1] + (served == one) - (served == other))
                assert max(lead) - min(lead) <= 1
        for pair, lead in leads.items():
            if not all(waiting[key] for key in pair):
                lead[:] = [0]


@given(flood=st.lists(priorities, min_size=2, max_size=30), others=st.integers(1, 5))
def test_a_flood_delays_another_key_by_one_call(flood: list[int], others: int) -> None:
    line = fill(Fair(None), (entry(priority=priority, key="flood") for priority in flood))
    fill(line, (entry(priority=-9, key=number) for number in range(others)))

    served = [line.pop().key for _ in range(1 + others)]

    assert served == ["flood", *range(others)]


def test_ever_new_keys_do_not_starve_one_that_waits() -> None:
    """Virtual time by start tags fails here: each newcomer is let in before the one who has had a turn."""
    line = fill(Fair(10.0), (entry(key="steady") for _ in range(20)))

    waits, others = [], 0
    for number in range(100):
        line.push(entry(key=number))
        others += 1
        if line.pop().key == "steady":
            waits.append(others)
            others = 0

    assert waits == list(range(1, 14))  # one newcomer more in each round: what came before it, and none that came after


def test_idle_time_earns_nothing() -> None:
    line = fill(Fair(10.0), (entry(key="busy") for _ in range(20)))
    line.push(entry(key="idle"))
    for _ in range(10):
        line.pop()

    fill(line, (entry(key="idle") for _ in range(5)))

    assert [line.pop().key for _ in range(6)] == ["busy", "idle"] * 3


def test_a_key_that_comes_back_at_once_does_not_overtake() -> None:
    """One call at a time, submitted again as soon as it was taken: the key must not get more than its turns."""
    line = fill(Fair(10.0), (entry(key="busy") for _ in range(10)))
    line.push(entry(key="eager"))

    served = []
    for _ in range(10):
        served.append(line.pop().key)
        if served[-1] == "eager":
            line.push(entry(key="eager"))

    assert served == ["busy", "eager"] * 5


def test_none_is_a_key_like_others() -> None:
    line = fill(Fair(10.0), [entry(1), entry(2), entry(3, key="other"), entry(4, key="other")])

    assert drain(line) == [1, 3, 2, 4]


def test_priority_counts_within_the_key_only() -> None:
    line = fill(Fair(10.0), [entry("a0", 0, key="a"), entry("a9", 9, key="a"), entry("b0", 0, key="b")])

    assert drain(line) == ["a9", "b0", "a0"]


@pytest.mark.parametrize(("drop", "of_flood"), [("remove_oldest", [0, 1, 2]), ("remove_lowest", [4, 3, 2])])
def test_whoever_floods_the_pool_pays_for_it(drop: str, of_flood: list[int]) -> None:
    line = fill(Fair(10.0), [entry(9, -9, key="small"), entry(8, -9, key="small")])
    fill(line, (entry(number, 9, key="flood") for number in range(5)))

    assert [getattr(line, drop)().task for _ in range(3)] == of_flood


def test_keys_with_one_call_each_are_dropped_from_as_one_line() -> None:
    line = fill(Fair(10.0), (entry(number, key=number) for number in range(4)))

    assert [line.remove_oldest().task, line.remove_lowest().task] == [0, 3]
    assert drain(line) == [1, 2]


# Memory


def watch(order: Order, calls: int) -> tuple[list[Entry], list[weakref.ref[Thing]]]:
    entries = [entry(Thing(), number % 3) for number in range(calls)]
    fill(order, entries)
    return entries, [weakref.ref(item.task) for item in entries]


@every_order
def test_what_was_removed_is_let_go(order: NewOrder) -> None:
    line = order()
    entries, watched = watch(line, 1_000)
    line.peek_lowest()
    line.peek_oldest()

    while len(entries) > 10:
        line.remove(item := entries.pop())
        del item

    assert sum(task() is not None for task in watched) <= 4 * len(entries)


@every_order
def test_what_was_popped_is_let_go_also_by_what_serves_dropping(order: NewOrder) -> None:
    line = order()
    watched = watch(line, 1_000)[1]
    line.peek_lowest()
    line.peek_oldest()

    while len(line) > 10:
        line.pop()

    assert sum(task() is not None for task in watched) <= 4 * len(line)


@every_order
def test_the_removed_do_not_outlive_the_popped(order: NewOrder) -> None:
    """They are too few to be cleared away when they are removed, and become too many as others are popped."""
    line = order()
    entries, watched = watch(line, 1_000)
    for item in entries[600:]:
        line.remove(item)
    del item, entries

    while len(line) > 10:
        line.pop()

    assert sum(task() is not None for task in watched) <= 4 * len(line)


@every_order
def test_many_changes_of_priority_leave_few_traces(order: NewOrder) -> None:
    line, item = order(), entry()
    fill(line, [item, entry()])
    line.peek_lowest()
    line.peek_oldest()
    before = sys.getrefcount(item)

    for number in range(1_000):
        line.reprioritise(item, -number)

    assert sys.getrefcount(item) - before <= 8


@every_order
def test_an_empty_order_holds_nothing(order: NewOrder) -> None:
    line, items = order(), [entry() for _ in range(8)]
    before = sys.getrefcount(items[0])
    fill(line, items)
    line.peek_lowest()
    line.peek_oldest()

    for item in items:
        line.reprioritise(item, -1)
    drain(line)

    del item
    assert {sys.getrefcount(items[number]) for number in range(8)} == {before}


@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize("busy", [0, 3])
def test_keys_that_come_and_go_are_forgotten(busy: int, dropping: bool) -> None:
    line = fill(Fair(10.0), (entry(key="busy") for _ in range(busy)))
    if dropping:
        line.peek_lowest()
    watched = []

    for _ in range(1_000):
        key = Thing()
        watched.append(weakref.ref(key))
        line.push(item := entry(key=key))
        while item.live:
            fill(line, [entry(key="busy")] * (line.pop().key == "busy"))
    del key, item

    assert not any(key() for key in watched)
    assert len(line) == busy


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_million_keys_leave_nothing_behind() -> None:
    line = fill(Fair(10.0), (entry(key=-number) for number in range(1, 11)))
    before = sys.getallocatedblocks()

    for number in range(1_000_000):
        line.push(entry(key=number))
        line.pop()

    assert len(line) == 10
    assert sys.getallocatedblocks() - before < 200
