"""Policies on a pool's calls: tried again, held up and refused as they say, without a worker, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from typing import Any
from weakref import ref

import pytest

from millhand import (
    CircuitOpen,
    CoroutinePool,
    QueueFull,
    RateLimited,
    RetryAfter,
    TaskDropped,
    TaskTimeout,
    ThreadPool,
)
from millhand.core.events import TaskDiscarded, TaskEnded
from millhand.policy import Backoff, Breaker, Bulkhead, RateLimit, Retry
from tests.pool.gate import Gate, lost

AT_ONCE = Backoff(base=0)
LATER = Backoff(base=60, jitter="none")
HELD_UP = RateLimit(1, per=3600)
"""One call, and no other for as long as a test lasts."""


class Flaky:
    """Fails some times, then returns how often it was called."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.calls, self._failures, self._error = 0, failures, error or ConnectionError("try again")

    def __call__(self, *args: object) -> int:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return self.calls


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    with ThreadPool(2) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)
    stats = pool.stats()
    assert (lost(stats), stats.waiting, stats.running) == (0, 0, 0)


def parked(pool: ThreadPool) -> Future[Any]:
    """Return a call that waits for its next attempt, for longer than a test lasts."""
    view, failed = pool.with_options(retry=Retry(backoff=LATER)), threading.Event()

    def fail() -> None:
        failed.set()
        raise ConnectionError

    future = view.submit(fail)
    assert failed.wait(5)
    while pool.stats().retried == 0:
        time.sleep(0)
    return future


# Retry.


def test_a_call_that_fails_is_tried_again_and_counted_as_one(pool: ThreadPool) -> None:
    call = Flaky(2)

    assert pool.with_options(retry=Retry(3, AT_ONCE)).submit(call).result(5) == 3

    stats = pool.stats()
    assert (stats.submitted, stats.done, stats.failed, stats.retried) == (1, 1, 0, 2)


def test_the_last_failure_is_what_the_future_raises(pool: ThreadPool) -> None:
    error = ConnectionError("no")
    future = pool.with_options(retry=Retry(3, AT_ONCE)).submit(Flaky(9, error))

    assert future.exception(5) is error
    assert (pool.stats().failed, pool.stats().retried) == (1, 2)


def test_a_call_that_waits_for_its_next_attempt_holds_no_worker() -> None:
    with ThreadPool(1) as pool:
        future = parked(pool)

        assert pool.submit(int, "7").result(5) == 7
        assert (pool.stats().waiting, pool.stats().running, pool.idle) == (1, 0, 1)
        assert not future.running()
        assert future.cancel()


def test_only_what_the_policy_covers_is_tried_again(pool: ThreadPool) -> None:
    asked: list[BaseException] = []

    def judge(error: BaseException) -> bool:
        asked.append(error)
        return len(asked) < 2

    error = ConnectionError()
    future = pool.with_options(retry=Retry(9, AT_ONCE, retry_on=judge)).submit(Flaky(9, error))

    assert future.exception(5) is error
    assert asked == [error, error]


def test_what_a_predicate_raises_ends_the_call(pool: ThreadPool) -> None:
    future = pool.with_options(retry=Retry(9, AT_ONCE, retry_on=lambda error: 1 // 0 > 0)).submit(Flaky(9))

    assert isinstance(future.exception(5), ZeroDivisionError)
    assert pool.submit(int).result(5) == 0


def test_a_predicate_may_use_the_pool(pool: ThreadPool) -> None:
    """It is called without a lock: under one, what it submits would never be taken."""
    view = pool.with_options(retry=Retry(2, AT_ONCE, retry_on=lambda error: pool.submit(int).result(5) == 0))

    assert view.submit(Flaky(1)).result(5) == 2


def test_retry_after_is_waited_for_exactly(pool: ThreadPool) -> None:
    begin = time.monotonic()

    assert pool.with_options(retry=Retry(2, LATER)).submit(Flaky(1, RetryAfter(0.02))).result(5) == 2

    assert time.monotonic() - begin >= 0.02


def test_each_attempt_finds_the_context_of_the_submit(pool: ThreadPool) -> None:
    seen: list[str] = []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("submitter's")

    def call() -> None:
        seen.append(variable.get())
        variable.set("attempt's")
        raise ConnectionError

    future = pool.with_options(retry=Retry(2, AT_ONCE)).submit(call)

    assert isinstance(future.exception(5), ConnectionError)
    assert seen == ["submitter's", "submitter's"]


def test_an_attempt_that_could_only_be_late_is_not_waited_for(pool: ThreadPool) -> None:
    future = pool.with_options(retry=Retry(2, LATER), total_timeout=30).submit(Flaky(9))

    assert isinstance(future.exception(5), ConnectionError)


def test_the_total_timeout_covers_all_attempts(pool: ThreadPool) -> None:
    view = pool.with_options(retry=Retry(None, Backoff(base=0.001, cap=0.001)), total_timeout=0.05)

    error = view.submit(Flaky(10**9)).exception(5)

    assert isinstance(error, TaskTimeout | ConnectionError)
    assert not isinstance(error, TaskTimeout) or error.timeout == pytest.approx(0.05)


def test_the_total_timeout_counts_from_the_submission_also_in_a_later_attempt(pool: ThreadPool) -> None:
    attempts, release = Flaky(1), threading.Event()

    def call() -> None:
        attempts()
        release.wait(5)

    view = pool.with_options(retry=Retry(2, Backoff(base=0.02, jitter="none")), total_timeout=0.06)
    error = view.submit(call).exception(5)
    release.set()

    assert isinstance(error, TaskTimeout)
    assert (error.total, error.timeout) == (True, pytest.approx(0.06))


def test_the_timeout_is_of_one_attempt_and_ends_the_call(pool: ThreadPool) -> None:
    release = threading.Event()
    future = pool.with_options(retry=Retry(5, AT_ONCE), timeout=0.01).submit(release.wait)

    assert isinstance(future.exception(5), TaskTimeout)
    release.set()
    assert pool.stats().retried == 0


def test_a_call_that_is_asked_to_stop_is_not_tried_again(pool: ThreadPool) -> None:
    entered, release = threading.Event(), threading.Event()

    def call() -> None:
        entered.set()
        release.wait(5)
        raise ConnectionError

    future: Any = pool.with_options(retry=Retry(5, AT_ONCE)).submit(call)
    assert entered.wait(5)
    future.cancel(running=True)
    release.set()

    assert isinstance(future.exception(5), ConnectionError)


def test_a_retry_does_not_overtake_what_was_submitted_while_it_waited() -> None:
    ran: list[str] = []

    def fail_first() -> None:
        ran.append("retried")
        if len(ran) == 1:
            raise ConnectionError

    with ThreadPool(1) as pool:
        failed = pool.with_options(retry=Retry(2, Backoff(base=0.02, jitter="none")), priority=1).submit(fail_first)
        while pool.stats().retried == 0:
            time.sleep(0)
        gate = Gate(pool)
        pool.with_options(priority=1).submit(ran.append, "fresh")
        time.sleep(0.03)  # what counts is time
        gate.open()
        failed.result(5)

    assert ran == ["retried", "fresh", "retried"]


def test_a_call_that_fails_after_everything_was_cancelled_is_not_tried_again() -> None:
    release = threading.Event()

    def fail() -> None:
        release.wait(5)
        raise ConnectionError

    pool = ThreadPool(1)
    future = pool.with_options(retry=Retry(backoff=LATER)).submit(fail)
    while not future.running():
        time.sleep(0)
    pool.shutdown(wait=False, cancel_futures=True)
    release.set()

    assert isinstance(future.exception(5), ConnectionError)


def test_arguments_are_let_go_of_at_the_end(pool: ThreadPool) -> None:
    argument = Flaky(0)
    watch = ref(argument)
    future = pool.with_options(retry=Retry(3, AT_ONCE)).submit(Flaky(1), argument)
    assert future.result(5) == 2
    del argument
    pool.submit(int).result(5)
    gc.collect()

    assert watch() is None


def test_listeners_are_told_of_each_attempt() -> None:
    outcomes: list[str] = []
    with ThreadPool(1) as pool:
        pool.listen(lambda event: outcomes.append(event.outcome) if isinstance(event, TaskEnded) else None)
        pool.with_options(retry=Retry(3, AT_ONCE)).submit(Flaky(1))

    assert outcomes == ["retried", "returned"]


# What happens to one that is parked.


def held_up(pool: ThreadPool) -> Future[Any]:
    """Return a call that waits for a rate, for longer than a test lasts."""
    view = pool.with_options(rate=HELD_UP)
    view.submit(int).result(5)
    while pool.stats().running:
        time.sleep(0)
    idle = pool.idle
    future = view.submit(int)
    while pool.idle < idle:  # a parked call keeps no worker from anybody, one in the line does
        time.sleep(0)
    return future


@pytest.mark.parametrize("park", [parked, held_up])
def test_a_parked_call_can_be_cancelled(pool: ThreadPool, park: Callable[[ThreadPool], Future[Any]]) -> None:
    future = park(pool)

    assert future.cancel()
    assert pool.drain(5)
    assert pool.stats().cancelled == 1


@pytest.mark.parametrize("park", [parked, held_up])
def test_a_parked_call_can_be_given_another_priority(pool: ThreadPool, park: Callable[[ThreadPool], Any]) -> None:
    future = park(pool)

    assert future.set_priority(5)
    assert future.cancel()
    assert not future.set_priority(5)


@pytest.mark.parametrize("park", [parked, held_up])
def test_a_shutdown_that_cancels_cancels_what_is_parked(park: Callable[[ThreadPool], Future[Any]]) -> None:
    pool = ThreadPool(1)
    future = park(pool)

    pool.shutdown(cancel_futures=True)

    assert future.cancelled()
    assert (lost(pool.stats()), pool.stats().waiting, pool.stats().workers) == (0, 0, 0)


def test_a_body_that_raises_cancels_what_is_parked() -> None:
    futures = []

    def body() -> None:
        with ThreadPool(1) as pool:
            futures.append(parked(pool))
            raise KeyError

    with pytest.raises(KeyError):
        body()
    assert futures[0].cancelled()


def test_a_shutdown_waits_for_what_is_parked() -> None:
    with ThreadPool(2) as pool:
        retried = pool.with_options(retry=Retry(2, Backoff(base=0.01, jitter="none"))).submit(Flaky(1))
        limited = [pool.with_options(rate=RateLimit(200)).submit(int, n) for n in "123"]

    assert retried.done()
    assert [future.result(0) for future in [retried, *limited]] == [2, 1, 2, 3]


def test_a_shutdown_of_a_sub_pool_waits_for_what_is_parked() -> None:
    with ThreadPool(2) as pool:
        with pool.subpool(1) as reports:
            retried = reports.with_options(retry=Retry(2, Backoff(base=0.01, jitter="none"))).submit(Flaky(1))
        assert retried.done()
        left = pool.subpool(1).with_options(rate=RateLimit(100))
        futures = [left.submit(int, n) for n in "12"]

    assert [future.result(0) for future in futures] == [1, 2]


def test_a_group_that_fails_cancels_what_is_parked(pool: ThreadPool) -> None:
    def await_the_other() -> None:
        assert passed.wait(5)
        raise KeyError

    def body() -> None:
        with pool.with_options(rate=RateLimit(1, per=3600, burst=2)).group() as group:
            group.submit(await_the_other)
            group.submit(passed.set)
            waiting.append(group.submit(int))

    passed, waiting = threading.Event(), list[Future[Any]]()
    with pytest.raises(ExceptionGroup):
        body()
    assert waiting[0].cancelled()


def test_a_total_timeout_strikes_what_is_parked(pool: ThreadPool) -> None:
    view = pool.with_options(rate=HELD_UP, total_timeout=0.02)
    view.submit(int).result(5)

    error = view.submit(int).exception(5)

    assert isinstance(error, TaskTimeout)
    assert error.total


def test_parked_calls_take_places_in_the_queue() -> None:
    with ThreadPool(1, queue_size=1, when_full="reject") as pool:
        future = held_up(pool)

        with pytest.raises(QueueFull):
            pool.submit(int)
        assert pool.stats().waiting == 1
        future.cancel()
        assert pool.submit(int).result(5) == 0


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_lowest"])
def test_a_parked_call_is_dropped_if_no_other_waits(policy: Any) -> None:
    with ThreadPool(1, queue_size=1, when_full=policy) as pool:
        future = held_up(pool)

        assert pool.submit(int).result(5) == 0
        assert isinstance(future.exception(5), TaskDropped)


def test_a_pause_holds_for_what_comes_back() -> None:
    with ThreadPool(1) as pool:
        view, call = pool.with_options(retry=Retry(2, Backoff(base=0.005, jitter="none"))), Flaky(1)
        gate = Gate(pool)
        future = view.submit(call)
        pool.pause()
        gate.open()
        wait([gate.future])
        assert not future.done()
        pool.resume()

        assert future.result(5) == 2


@pytest.mark.parametrize("kind", ["ThreadPool", "CoroutinePool"])
@pytest.mark.slow
def test_the_end_of_the_program_waits_for_what_is_parked(kind: str) -> None:
    program = f"""
from millhand import Backoff, {kind}, RateLimit, Retry
calls = []
def flaky():
    calls.append(1)
    if len(calls) < 3:
        raise ConnectionError
    print("done", flush=True)
async def flaky_coroutine():
    flaky()
pool = {kind}(2)
view = pool.with_options(retry=Retry(3, Backoff(base=0.1, jitter="none")), rate=RateLimit(20))
view.submit(flaky if {kind == "ThreadPool"} else flaky_coroutine)
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15, check=False)

    assert (child.stdout, child.stderr, child.returncode) == ("done\n", "", 0)


def test_a_collected_pool_finishes_what_is_parked() -> None:
    view = ThreadPool(1).with_options(retry=Retry(2, Backoff(base=0.01, jitter="none")))
    future = view.submit(Flaky(1))
    del view
    gc.collect()

    assert future.result(5) == 2


@pytest.mark.parametrize("options", [{"rate": HELD_UP}, {"retry": Retry(backoff=LATER)}], ids=["rate", "retry"])
def test_no_more_wait_than_the_queue_has_places_and_the_pool_workers(options: Any) -> None:
    pool = ThreadPool(2, queue_size=3, when_full="reject")
    for _ in range(200):
        with suppress(QueueFull):
            pool.with_options(**options).submit(Flaky(1))
        time.sleep(0)
    while pool.idle < 2:  # until all are parked
        time.sleep(0)

    assert 3 <= pool.stats().waiting <= 5
    pool.shutdown(cancel_futures=True)
    assert lost(pool.stats()) == 0


def test_a_pool_where_nothing_waits_tries_again_nevertheless() -> None:
    with ThreadPool(1, queue_size=0, when_full="reject") as pool:
        future = pool.with_options(retry=Retry(2, Backoff(base=0.01, jitter="none"))).submit(Flaky(1))

        assert future.result(5) == 2


def test_a_call_that_its_submitter_runs_is_tried_again() -> None:
    with ThreadPool(1, queue_size=1, when_full="caller_runs") as pool:
        gate = Gate(pool)
        behind = pool.submit(int)
        future = pool.with_options(retry=Retry(2, Backoff(base=0.01, jitter="none"))).submit(Flaky(1))
        pool.shutdown(wait=False)
        gate.open()

        assert (behind.result(5), future.result(5)) == (0, 2)


# Rates.


def test_in_any_window_no_more_calls_begin_than_the_rate_allows(pool: ThreadPool) -> None:
    rate, burst, begun = 400.0, 3, list[float]()
    view = pool.with_options(rate=RateLimit(rate, burst=burst))

    wait([view.submit(lambda: begun.append(time.monotonic())) for _ in range(40)])

    late = 0.004  # how late a call may note its beginning
    for first in range(len(begun)):
        for last in range(first + burst, len(begun)):
            assert last - first + 1 <= burst + rate * (begun[last] - begun[first] + late) + 1e-6
    assert begun[-1] - begun[0] >= (len(begun) - burst) / rate - late


def test_calls_that_wait_for_a_rate_pass_by_their_priority(pool: ThreadPool) -> None:
    ran: list[str] = []
    view = RateLimit(50)
    pool.with_options(rate=view).submit(int).result(5)
    futures: list[Any] = [pool.with_options(rate=view).submit(ran.append, name) for name in "abc"]
    assert futures[2].set_priority(5)

    wait(futures, 5)
    assert ran == ["c", "a", "b"]


def test_a_limit_that_refuses_says_when_to_come_again(pool: ThreadPool) -> None:
    events: list[Any] = []
    pool.listen(events.append)
    view = pool.with_options(rate=HELD_UP, when_limited="refuse")
    view.submit(int).result(5)

    error = view.submit(int).exception(5)

    assert isinstance(error, RateLimited)
    assert 3590 < error.seconds <= 3600
    assert pool.stats().failed == 1
    assert TaskDiscarded("int", "refused") in events


def test_a_retry_waits_for_as_long_as_a_limit_has_named(pool: ThreadPool) -> None:
    view = pool.with_options(rate=RateLimit(50), when_limited="refuse", retry=Retry(2, AT_ONCE))
    begin = time.monotonic()

    assert [view.submit(int, n).result(5) for n in "12"] == [1, 2]
    assert time.monotonic() - begin >= 0.02


def test_equal_limits_are_one_for_each_key(pool: ThreadPool) -> None:
    def submit(key: str) -> Future[int]:
        return pool.with_options(rate=RateLimit(1, per=3600), key=key, when_limited="refuse").submit(int)

    assert [type(submit(key).exception(5)) for key in "aab"] == [type(None), RateLimited, type(None)]


# Bulkheads.


def test_no_more_of_a_key_run_at_once_than_the_bulkhead_allows() -> None:
    running, most, lock = [0], [0], threading.Lock()

    def call() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0)
        with lock:
            running[0] -= 1

    with ThreadPool(8) as pool:
        view = pool.with_options(bulkhead=Bulkhead(3))
        wait([view.submit(call) for _ in range(200)], 10)

        assert most[0] <= 3
        assert pool.stats().done == 200


def test_a_full_bulkhead_leaves_the_other_workers_to_others() -> None:
    release = threading.Event()
    with ThreadPool(2) as pool:
        slow = [pool.with_options(bulkhead=Bulkhead(1), key="slow").submit(release.wait, 5) for _ in range(5)]

        assert pool.with_options(bulkhead=Bulkhead(1), key="quick").submit(int, "7").result(5) == 7
        release.set()
        assert all(future.result(5) for future in slow)


def test_a_bulkhead_refuses_when_as_many_wait_as_may() -> None:
    with ThreadPool(2) as pool:
        view = pool.with_options(bulkhead=Bulkhead(1, waiting=1))
        gate = Gate(view)
        waiting, refused = view.submit(int), view.submit(int)

        assert isinstance(refused.exception(5), QueueFull)
        gate.open()
        assert waiting.result(5) == 0


def test_who_is_cancelled_makes_room_for_another_to_wait() -> None:
    with ThreadPool(2) as pool:
        view = pool.with_options(bulkhead=Bulkhead(1, waiting=1))
        gate = Gate(view)
        cancelled, refused = view.submit(int), view.submit(int)
        assert isinstance(refused.exception(5), QueueFull)
        cancelled.cancel()

        waiting = view.submit(int)
        gate.open()
        assert waiting.result(5) == 0


def test_who_sees_the_end_of_a_call_finds_its_place_free(pool: ThreadPool) -> None:
    view = pool.with_options(bulkhead=Bulkhead(1), when_limited="refuse")

    assert [view.submit(int).result(5) for _ in range(200)] == [0] * 200


def test_what_is_cancelled_or_withdrawn_leaves_no_place_taken() -> None:
    with ThreadPool(2) as pool:
        view = pool.with_options(bulkhead=Bulkhead(1), key="a")
        gate = Gate(view)
        futures = [view.submit(int) for _ in range(20)]
        for future in futures[::2]:
            future.cancel()
        gate.open()

        assert [future.result(5) for future in futures[1::2]] == [0] * 10
        assert view.submit(int).result(5) == 0


# Breakers.


def test_an_open_breaker_refuses_at_the_future(pool: ThreadPool) -> None:
    view = pool.with_options(breaker=Breaker(consecutive=2, open_for=60))
    for _ in range(2):
        view.submit(Flaky(9)).exception(5)

    error = view.submit(int).exception(5)

    assert isinstance(error, CircuitOpen)
    assert error.seconds > 50
    assert pool.submit(int).result(5) == 0


def test_a_call_that_overstays_its_timeout_is_a_failure_to_the_breaker(pool: ThreadPool) -> None:
    release = threading.Event()
    view = pool.with_options(breaker=Breaker(consecutive=1), timeout=0.01)
    assert isinstance(view.submit(release.wait).exception(5), TaskTimeout)

    assert isinstance(view.submit(int).exception(5), CircuitOpen)
    release.set()


def test_a_retry_outlasts_an_open_circuit(pool: ThreadPool) -> None:
    view = pool.with_options(breaker=Breaker(consecutive=1, open_for=0.02), retry=Retry(3, AT_ONCE))
    begin = time.monotonic()

    assert view.submit(Flaky(1)).result(5) == 2

    assert time.monotonic() - begin >= 0.02


def test_a_refused_call_takes_no_token_of_the_rate(pool: ThreadPool) -> None:
    rate = RateLimit(1, per=3600)
    pool.with_options(breaker=Breaker(consecutive=1)).submit(Flaky(9)).exception(5)

    refused = pool.with_options(breaker=Breaker(consecutive=1), rate=rate).submit(int)

    assert isinstance(refused.exception(5), CircuitOpen)
    assert pool.with_options(rate=rate, when_limited="refuse").submit(int).result(5) == 0


# Every door.


def test_map_and_run_and_amap_and_groups_keep_to_policies(pool: ThreadPool) -> None:
    calls = {n: Flaky(n) for n in range(3)}
    view = pool.with_options(retry=Retry(3, AT_ONCE), bulkhead=Bulkhead(1))

    async def main() -> list[int]:
        values = [await view.run(Flaky(1))]
        return values + [value async for value in view.amap(lambda n: Flaky(n)(), [0])]

    assert list(view.map(lambda n: calls[n](), range(3), buffersize=1)) == [1, 2, 3]
    assert asyncio.run(main()) == [2, 1]
    with view.group() as group:
        future = group.submit(Flaky(2))
    assert future.result(0) == 3


@pytest.mark.parametrize("attached", [True, False])
def test_a_pool_of_coroutines_keeps_to_policies(attached: bool) -> None:
    calls = [0]

    async def flaky() -> int:
        calls[0] += 1
        await asyncio.sleep(0)
        if calls[0] % 3:
            raise ConnectionError
        return calls[0]

    async def main() -> int:
        async with CoroutinePool(2) as pool:
            return await pool.with_options(retry=Retry(3, AT_ONCE), rate=RateLimit(500)).run(flaky)

    if attached:
        assert asyncio.run(main()) == 3
        return
    with CoroutinePool(2) as pool:
        view = pool.with_options(retry=Retry(3, AT_ONCE), bulkhead=Bulkhead(1))
        future, parked = view.submit(flaky), pool.with_options(rate=HELD_UP)
        assert future.result(5) == 3
        parked.submit(asyncio.sleep, 0).result(5)
        waiting = parked.submit(asyncio.sleep, 0)
        assert waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(0)
    assert (pool.stats().retried, lost(pool.stats())) == (2, 0)


@pytest.mark.parametrize(
    ("option", "value"),
    [("retry", 3), ("rate", 10), ("breaker", True), ("bulkhead", 4), ("when_limited", "maybe")],
)
def test_an_option_that_is_no_policy_is_refused_with_its_name(pool: ThreadPool, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be"):
        pool.with_options(**{option: value})
