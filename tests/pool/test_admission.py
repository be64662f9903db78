from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, wait
from typing import Any, get_args

import pytest

from millhand import PoolClosed, QueueFull, ThreadPool
from millhand.core.errors import TaskDropped
from millhand.pool.options import WhenFull
from millhand.pool.order import OrderName
from tests.pool.gate import Aside, Gate, lost

POLICIES: tuple[WhenFull, ...] = get_args(WhenFull)
DROPS: tuple[WhenFull, ...] = ("drop_oldest", "drop_newest", "drop_lowest")


def fill(pool: ThreadPool) -> tuple[Gate, Future[Any]]:
    """Keep the one worker busy and take the one place; return what holds the worker, and what waits."""
    gate = Gate(pool)
    return gate, pool.submit(int, "1")


def dropped(future: Future[Any]) -> bool:
    return isinstance(future.exception(5), TaskDropped)


# Block.


def test_blocking_ends_with_the_submit_timeout_and_says_so() -> None:
    with ThreadPool(1, queue_size=1, submit_timeout=0.01) as pool:
        gate, _ = fill(pool)

        with pytest.raises(QueueFull, match=r"1 of 1 places are taken; none came free in 0\.01 s"):
            pool.submit(int)

        assert (pool.stats().refused, pool.stats().submitted, pool.stats().waiting) == (1, 3, 1)
        gate.open()


def test_a_call_may_wait_longer_for_its_place_than_the_pool_says() -> None:
    with ThreadPool(1, queue_size=1, submit_timeout=0.01) as pool:
        gate, _ = fill(pool)

        patient = Aside(lambda: pool.with_options(submit_timeout=5).submit(int, "2"))
        blocked = patient.is_blocked()
        gate.open()

        future = patient.outcome()
        assert blocked
        assert isinstance(future, Future)
        assert future.result() == 2


def test_a_submit_timeout_that_has_a_place_in_time_does_not_matter() -> None:
    with ThreadPool(1, queue_size=1, submit_timeout=5) as pool:
        futures = [pool.submit(int, str(n)) for n in range(50)]

    assert [future.result() for future in futures] == list(range(50))


# Reject.


def test_rejecting_raises_at_once_and_leaves_nothing() -> None:
    calls: list[int] = []
    with ThreadPool(1, queue_size=1, when_full="reject") as pool:
        gate, waiting = fill(pool)

        with pytest.raises(QueueFull, match="1 of 1 places are taken; wait, raise queue_size") as caught:
            pool.submit(calls.append, 1)

        gate.open()
    assert (caught.value.waiting, caught.value.limit) == (1, 1)
    assert waiting.result() == 1
    assert calls == []
    assert (pool.stats().refused, pool.stats().done, lost(pool.stats())) == (1, 2, 0)


# Caller runs.


def test_caller_runs_in_the_thread_of_the_submit() -> None:
    with ThreadPool(1, queue_size=1, when_full="caller_runs") as pool:
        gate, waiting = fill(pool)

        here = pool.submit(threading.current_thread)
        failed = pool.submit(divmod, 1, 0)

        ended = here.done(), failed.done(), waiting.done()
        gate.open()
    assert ended == (True, True, False)
    assert here.result() is threading.current_thread()
    assert isinstance(failed.exception(), ZeroDivisionError)
    assert (pool.stats().done, pool.stats().failed, lost(pool.stats())) == (3, 1, 0)


def test_who_runs_a_call_himself_is_no_worker_afterwards() -> None:
    """Were he taken for one, his next wait would hire somebody to stand in for him."""
    with ThreadPool(1, queue_size=1, when_full="caller_runs") as pool:
        gate, waiting = fill(pool)
        assert pool.submit(int).done()

        with pytest.raises(TimeoutError):
            waiting.result(0.01)

        assert pool.stats().workers == 1
        gate.open()


# Drop.


@pytest.mark.parametrize("policy", DROPS)
def test_what_is_dropped_says_its_name_and_why_and_is_never_run(policy: WhenFull) -> None:
    calls: list[int] = []
    told: list[object] = []
    with ThreadPool(1, queue_size=1, when_full=policy) as pool:
        gate = Gate(pool)

        first, second = pool.submit(calls.append, 1), pool.submit(calls.append, 2)
        victim, kept = (first, second) if policy == "drop_oldest" else (second, first)
        victim.add_done_callback(told.append)
        error = victim.exception(0.5)
        gate.open()

    assert isinstance(error, TaskDropped)
    assert (error.name, error.policy) == ("list.append", policy)
    assert kept.exception() is None
    assert calls == [2 if policy == "drop_oldest" else 1]
    assert told == [victim]
    assert (pool.stats().dropped, pool.stats().done, pool.stats().submitted, lost(pool.stats())) == (1, 2, 3, 0)


@pytest.mark.parametrize(
    ("order", "policy", "expected"),
    [
        ("fifo", "drop_oldest", "cdef"),
        ("fifo", "drop_newest", "abcd"),
        ("fifo", "drop_lowest", "abcd"),
        ("lifo", "drop_oldest", "fedc"),
        ("lifo", "drop_newest", "dcba"),
        ("lifo", "drop_lowest", "fedc"),
        ("fair", "drop_oldest", "cdef"),
        ("fair", "drop_newest", "abcd"),
        ("fair", "drop_lowest", "abcd"),
    ],
)
def test_which_are_dropped_of_equals(order: OrderName, policy: WhenFull, expected: str) -> None:
    ran: list[str] = []
    with ThreadPool(1, queue_size=4, when_full=policy, order=order) as pool:
        gate = Gate(pool)
        futures = [pool.submit(ran.append, name) for name in "abcdef"]
        gate.open()

    assert "".join(ran) == expected
    assert sum(dropped(future) for future in futures) == pool.stats().dropped == 2


def test_the_lowest_priority_is_dropped_be_it_the_newcomer_or_not() -> None:
    ran: list[int] = []
    with ThreadPool(1, queue_size=2, when_full="drop_lowest") as pool:
        gate = Gate(pool)
        futures = {n: pool.with_options(priority=n).submit(ran.append, n) for n in (2, 1, 3, 0, 4)}
        gate.open()

    assert ran == [4, 3]
    assert {n for n, future in futures.items() if dropped(future)} == {0, 1, 2}


def test_a_changed_priority_decides_who_is_dropped() -> None:
    with ThreadPool(1, queue_size=2, when_full="drop_lowest") as pool:
        gate = Gate(pool)
        first, second = pool.submit(int), pool.submit(int)
        assert first.set_priority(-1)  # type: ignore[attr-defined]  # a Task is a Future to its submitter

        third = pool.submit(int)
        gate.open()

        assert (dropped(first), dropped(second), dropped(third)) == (True, False, False)


def test_whoever_floods_a_fair_pool_pays_for_it() -> None:
    with ThreadPool(1, queue_size=3, when_full="drop_oldest", order="fair") as pool:
        gate = Gate(pool)
        quiet = pool.with_options(key="quiet").submit(int)
        noisy = [pool.with_options(key="noisy").submit(int) for _ in range(5)]
        gate.open()

        assert quiet.exception(5) is None
        assert [dropped(future) for future in noisy] == [True, True, True, False, False]


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_lowest"])
def test_a_cancelled_call_that_is_pushed_out_is_not_counted_again(policy: WhenFull) -> None:
    with ThreadPool(1, queue_size=1, when_full=policy) as pool:
        gate = Gate(pool)
        gone = pool.with_options(priority=-1).submit(int)
        gone.cancel()

        newcomer = pool.submit(int, "7")
        gate.open()

        assert newcomer.result(5) == 7
    assert gone.cancelled()
    assert (pool.stats().cancelled, pool.stats().dropped, lost(pool.stats())) == (1, 0, 0)


def test_a_callback_of_a_dropped_call_may_submit_to_the_full_pool() -> None:
    again: list[Future[Any]] = []
    with ThreadPool(1, queue_size=1, when_full="drop_oldest") as pool:
        gate, waiting = fill(pool)
        waiting.add_done_callback(lambda _: again.append(pool.submit(int, "3")))

        second = pool.submit(int, "2")
        gate.open()

        assert (dropped(waiting), dropped(second), again[0].result(5)) == (True, True, 3)


def test_what_only_wakes_workers_is_not_taken_for_nothing_to_drop() -> None:
    """A crew that shrank while all were busy: the wake-ups stood first in the queue, and the submit blocked."""
    with ThreadPool(3, queue_size=1, when_full="drop_oldest") as pool:
        gates = [Gate(pool) for _ in range(3)]
        first = pool.submit(int)
        pool.resize(1)

        second = Aside(lambda: pool.submit(int))

        assert second.outcome()
        assert dropped(first)
        for gate in gates:
            gate.open()


# One call may differ from its pool.


@pytest.mark.parametrize("policy", POLICIES)
def test_a_call_may_say_itself_what_to_do_when_full(policy: WhenFull) -> None:
    """Found by this test: a drop in a pool that kept no order killed the worker, which met a token for a task."""
    with ThreadPool(1, queue_size=1, when_full="reject") as pool:
        gate, waiting = fill(pool)
        view = pool.with_options(when_full=policy, submit_timeout=0.01)

        submit = Aside(lambda: view.submit(int, "2"))
        outcome = submit.outcome()
        gate.open()
        wait([waiting], 5)

        if policy in ("block", "reject"):
            assert isinstance(outcome, QueueFull)
        elif policy in ("drop_newest", "drop_lowest"):
            assert isinstance(outcome, Future)
            assert (dropped(outcome), waiting.result(5)) == (True, 1)
        else:
            assert isinstance(outcome, Future)
            assert outcome.result(5) == 2
            assert dropped(waiting) == (policy == "drop_oldest")
        assert pool.submit(int, "5").result(5) == 5
    assert lost(pool.stats()) == 0


# Threads that must not wait.


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_event_loop_is_never_blocked_whatever_the_policy(policy: WhenFull, paused: bool) -> None:
    with ThreadPool(1, queue_size=1, when_full=policy) as pool:
        gate = Gate(pool)
        if paused:
            gate.open()
            gate.future.result()
            pool.pause()
        waiting = pool.submit(int)

        async def submit() -> object:
            try:
                return pool.submit(int)
            except QueueFull as error:
                return error

        answer = Aside(lambda: asyncio.run(submit())).outcome()
        pool.resume()
        gate.open()

        assert isinstance(answer, QueueFull) == (policy in ("block", "reject", "caller_runs"))
        wait([waiting], 5)
    assert lost(pool.stats()) == 0


@pytest.mark.parametrize("queue_size", [0, 1])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_worker_that_submits_to_its_own_full_pool_never_waits_for_itself(policy: WhenFull, queue_size: int) -> None:
    with ThreadPool(1, queue_size=queue_size, when_full=policy) as pool:

        def submit_more() -> list[Future[int]]:
            futures = []
            for n in range(4):
                try:
                    futures.append(pool.submit(int, str(n)))
                except QueueFull:
                    assert policy == "reject"
            return futures

        futures = pool.submit(submit_more).result(5)
        wait(futures, 5)

        assert all(future.done() for future in futures)
    assert lost(pool.stats()) == 0
    assert pool.stats().submitted == 5


# Handing over: queue_size=0.


def test_without_a_queue_a_call_is_taken_only_if_a_worker_is_free() -> None:
    with ThreadPool(2, queue_size=0, when_full="reject") as pool:
        for _ in range(3):
            gates = [Gate(pool), Gate(pool)]
            with pytest.raises(QueueFull):
                pool.submit(int)
            for gate in gates:
                gate.open()
                gate.future.result()

        assert (pool.stats().refused, pool.stats().waiting) == (3, 0)


def test_a_worker_is_free_as_soon_as_its_end_is_seen() -> None:
    with ThreadPool(1, queue_size=0, when_full="reject") as pool:
        for n in range(300):
            assert pool.submit(int, str(n)).result() == n


def test_without_a_queue_a_submit_blocks_until_a_worker_is_free() -> None:
    with ThreadPool(1, queue_size=0) as pool:
        gate = Gate(pool)
        submit = Aside(lambda: pool.submit(int, "4"))
        blocked = submit.is_blocked()

        gate.open()
        future = submit.outcome()

        assert blocked
        assert isinstance(future, Future)
        assert future.result() == 4


@pytest.mark.parametrize("policy", DROPS)
def test_without_a_queue_there_is_only_the_newcomer_to_drop(policy: WhenFull) -> None:
    """Found by this test: nothing waits that could be dropped, and the submit waited for it."""
    with ThreadPool(1, queue_size=0, when_full=policy) as pool:
        gate = Gate(pool)

        submit = Aside(lambda: pool.submit(int))
        future = submit.outcome()
        gate.open()

        assert isinstance(future, Future)
        assert dropped(future)
    assert (pool.stats().dropped, pool.stats().done, lost(pool.stats())) == (1, 1, 0)


def test_without_a_queue_growing_the_crew_lets_a_blocked_submit_in() -> None:
    """Found by this test: nobody told those who waited for a place."""
    with ThreadPool(1, queue_size=0) as pool:
        gate = Gate(pool)
        submits = [Aside(lambda: pool.submit(int, "4")) for _ in range(2)]
        blocked = [submit.is_blocked() for submit in submits]

        pool.resize(3)
        futures = [submit.outcome() for submit in submits]

        assert blocked == [True, True]
        assert [future.result(5) for future in futures if isinstance(future, Future)] == [4, 4]
        gate.open()


def test_without_a_queue_a_smaller_crew_takes_fewer_calls() -> None:
    with ThreadPool(3, queue_size=0, when_full="reject") as pool:
        gates = [Gate(pool) for _ in range(3)]
        pool.resize(1)
        for gate in gates[1:]:
            gate.open()
            gate.future.result()

        with pytest.raises(QueueFull):
            pool.submit(int)
        gates[0].open()
        gates[0].future.result()

        last = Gate(pool)
        with pytest.raises(QueueFull):
            pool.submit(int)
        last.open()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_closed_pool_refuses_whatever_the_policy(policy: WhenFull) -> None:
    pool = ThreadPool(1, queue_size=1, when_full=policy)
    gate, waiting = fill(pool)
    pool.shutdown(wait=False)

    with pytest.raises(PoolClosed):
        pool.submit(int)
    gate.open()
    pool.shutdown()

    assert waiting.result() == 1
    assert (pool.stats().refused, lost(pool.stats())) == (1, 0)
