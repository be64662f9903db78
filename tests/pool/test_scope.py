from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import pytest

from millhand import Future, ThreadPool
from millhand.pool.current import current_task
from millhand.pool.scope import Scope, leave
from millhand.pool.task import Task
from tests.pool.gate import Gate


class Call:
    """A member of a scope that notes when it is stopped."""

    def __init__(self, scope: Scope | None = None) -> None:
        self.scope: Scope | None = None
        self.stopped = 0
        self.welcome = scope is None or scope.add(self)

    waits = False

    def stop(self) -> None:
        self.stopped += 1


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    with ThreadPool(2) as pool:
        yield pool


def test_cancel_stops_everybody_who_is_in() -> None:
    scope = Scope()
    calls = [Call(scope) for _ in range(3)]

    scope.cancel()

    assert [call.stopped for call in calls] == [1, 1, 1]


def test_cancel_stops_what_runs_before_what_waits() -> None:
    order: list[bool] = []

    class Noting(Call):
        def stop(self) -> None:
            order.append(self.waits)

    scope = Scope()
    for n in range(20):
        Noting(scope).waits = n % 3 > 0

    scope.cancel()

    assert order == sorted(order)


def test_cancel_does_not_stop_who_has_left() -> None:
    scope = Scope()
    call = Call(scope)
    leave(call)

    scope.cancel()

    assert call.stopped == 0
    assert len(scope) == 0


def test_who_comes_into_a_cancelled_scope_is_told() -> None:
    scope = Scope()
    scope.cancel()

    assert not Call(scope).welcome


def test_a_sealed_scope_welcomes_nobody_and_names_those_who_are_in() -> None:
    scope = Scope()
    call = Call(scope)

    assert scope.seal() == (call,)
    assert not Call(scope).welcome
    assert call.stopped == 0


def test_one_whose_stop_raises_does_not_keep_the_others_from_being_stopped() -> None:
    class Raising(Call):
        def stop(self) -> None:
            super().stop()
            raise SystemExit

    scope = Scope()
    calls = [Raising(scope) for _ in range(3)]

    with pytest.raises(SystemExit):
        scope.cancel()

    assert [call.stopped for call in calls] == [1, 1, 1]


def test_a_scope_that_dissolves_hands_its_members_up() -> None:
    around = Scope()
    owner = Call(around)
    own = Scope(around)
    call = Call(own)

    own.dissolve(owner)

    assert call.scope is around
    assert len(own) == 0


def test_a_scope_with_nothing_around_lets_its_members_go() -> None:
    own = Scope()
    call = Call(own)

    own.dissolve(Call())

    assert call.scope is None


def test_who_is_handed_up_into_a_cancelled_scope_is_stopped() -> None:
    around = Scope()
    owner = Call(around)
    own = Scope(around)
    call = Call(own)
    around.seal()

    own.dissolve(owner)

    assert call.stopped == 1


def test_a_member_is_handed_up_where_its_owner_has_been_handed_up_meanwhile() -> None:
    """Two calls end at once: the inner one must not hand up to where the outer one is gone already."""
    top = Scope()
    outer, outer_scope = Call(top), Scope(top)
    inner, inner_scope = Call(outer_scope), Scope(outer_scope)
    call = Call(inner_scope)

    outer_scope.dissolve(outer)
    inner_scope.dissolve(inner)

    assert call.scope is top


def test_a_member_that_is_handed_up_is_never_without_a_scope() -> None:
    """It was, for a moment: if it ended in that moment, it did not leave, and was a member for ever."""

    class Watched(Call):
        scopes: list[Scope | None]

        def __setattr__(self, name: str, value: object) -> None:
            if name == "scope":
                self.__dict__.setdefault("scopes", []).append(value)
            super().__setattr__(name, value)

    top = Scope()
    own = Scope(top)
    call = Watched(own)

    own.dissolve(Call(top))

    assert call.scopes == [None, own, top]


def test_two_that_end_at_once_lose_no_member() -> None:
    for _ in range(300):
        top = Scope()
        outer, outer_scope = Call(top), Scope(top)
        inner, inner_scope = Call(outer_scope), Scope(outer_scope)
        calls = [Call(inner_scope) for _ in range(3)]
        start = threading.Barrier(2)

        def end(scope: Scope, owner: Call, start: threading.Barrier = start) -> None:
            start.wait()
            scope.dissolve(owner)
            leave(owner)

        threads = [threading.Thread(target=end, args=each) for each in ((outer_scope, outer), (inner_scope, inner))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert set(top.members()) == set(calls)


def test_a_cancelled_scope_goes_up_as_a_whole_until_it_is_empty_and_goes_on_cancelling() -> None:
    around = Scope()
    owner = Call(around)
    own = Scope(around)
    inner, inner_scope = Call(own), Scope(own)
    call = Call(inner_scope)
    own.seal()

    own.dissolve(owner)
    leave(owner)
    inner_scope.dissolve(inner)
    leave(inner)

    assert call.stopped == 1
    assert around.members() == (own,)
    leave(call)
    assert len(around) == 0


def test_a_scope_closes_when_it_is_empty_and_takes_nobody_then() -> None:
    scope = Scope()

    assert scope.close(lambda: None)
    assert scope.closed
    assert not Call(scope).welcome


def test_a_scope_that_is_not_empty_tells_when_it_is() -> None:
    scope = Scope()
    calls = [Call(scope) for _ in range(2)]
    told: list[int] = []

    assert not scope.close(lambda: told.append(len(scope)))
    assert not scope.closed
    for call in calls:
        leave(call)

    assert told == [0]
    assert scope.close(lambda: None)


def test_who_waits_is_told_without_the_lock_of_the_tree() -> None:
    scope = Scope()
    call = Call(scope)
    free: list[bool] = []

    def look() -> None:
        other = threading.Thread(target=Call, args=(scope,))
        other.start()
        other.join(5)
        free.append(not other.is_alive())

    scope.close(look)
    leave(call)

    assert free == [True]


def test_a_scope_is_never_empty_while_something_that_was_submitted_from_within_is_waiting(pool: ThreadPool) -> None:
    lengths: list[int] = []
    with pool.group() as group:

        def submit_two(n: int) -> None:
            task = current_task()
            assert task is not None
            length, scope = 0, None
            while scope is not task.scope:  # it may be handed up while we look
                scope = task.scope
                length = len(scope or ())
            lengths.append(length)
            for _ in range(2 if n else 0):
                pool.submit(submit_two, n - 1)

        group.submit(submit_two, 8)

    assert len(lengths) == 2**9 - 1
    assert min(lengths) > 0


def test_a_chain_of_calls_that_each_submit_the_next_one_keeps_none_of_them(pool: ThreadPool) -> None:
    ended = threading.Event()
    alive: list[tuple[int, int]] = []

    def step(n: int) -> None:
        if n % 1_000 == 0:
            gc.collect()
            counted = [type(each) for each in gc.get_objects()]
            alive.append((counted.count(Task), counted.count(Scope)))
        if n == 0:
            ended.set()
        else:
            pool.submit(step, n - 1)

    pool.submit(step, 3_000)

    assert ended.wait(15)
    assert max(map(sum, alive)) < 50


@pytest.mark.slow
def test_a_chain_of_100_000_calls_in_a_group_leaves_one_member_at_a_time(pool: ThreadPool) -> None:
    most = 0
    with pool.group() as group:

        def step(n: int) -> None:
            nonlocal most
            task = current_task()
            assert task is not None
            most = max(most, len(task.scope or ()))
            if n:
                pool.submit(step, n - 1)

        group.submit(step, 100_000)

    assert most <= 2


def test_what_has_ended_is_not_kept_by_the_group(pool: ThreadPool) -> None:
    class Value:
        pass

    with pool.group() as group:
        for _ in range(200):
            group.submit(Value).result()
        gc.collect()

        kept = sum(isinstance(each, Value) for each in gc.get_objects())

        assert kept <= 2  # a worker may hold the last one


def test_a_callback_of_a_call_that_ran_inside_of_another_one_submits_for_itself(pool: ThreadPool) -> None:
    """What the callback submitted was cancelled: its parent, by then, was a call that had ended."""
    later: list[Future[int]] = []

    def outer() -> None:
        gate = Gate(pool)  # the other worker: so that the inner call waits until it is run here
        inner = pool.submit(int, 1)
        inner.add_done_callback(lambda _: later.append(pool.submit(int, 2)))
        inner.result()
        gate.open()

    pool.submit(outer).result(5)

    assert later[0].result(5) == 2


def test_what_is_submitted_by_a_finaliser_between_two_calls_is_of_neither(pool: ThreadPool) -> None:
    later: list[Future[int]] = []

    class Finalised:
        def __del__(self) -> None:
            later.append(pool.submit(int, 2))

    pool.submit(partial(lambda _: None, Finalised())).result(5)
    pool.submit(int).result(5)
    gc.collect()

    assert [future.result(5) for future in later] == [2]
    assert all(a is not b for a, b in pairwise(later))
