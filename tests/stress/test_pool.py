"""Races of the pool, hunted: threads take turns every microsecond, in an order drawn from a seed that is printed."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
from collections import Counter as Count
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures._base import _Waiter
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from millhand import Future, PoolClosed, PoolStats, QueueFull, TaskTimeout, ThreadPool
from millhand.pool.future import RETURNED
from millhand.pool.options import Options
from millhand.pool.stats import Books, Tally
from millhand.pool.task import Task
from tests.pool.gate import Gate, lost

ROUNDS = int(os.environ.get("MILLHAND_STRESS_ROUNDS", "500"))


@pytest.fixture
def chance() -> Iterator[random.Random]:
    seed = int(os.environ.get("MILLHAND_SEED", random.randrange(2**32)))
    print(f"MILLHAND_SEED={seed}")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield random.Random(seed)
    sys.setswitchinterval(before)


def race(chance: random.Random, *calls: Callable[[], Any]) -> list[Any]:
    """Let calls run against each other from one start; return what each returned."""
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))
    delays = [chance.randrange(60) for _ in calls]

    def run(index: int) -> None:
        barrier.wait(5)
        for _ in range(delays[index]):
            pass
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return results


def ends_add_up(pool: ThreadPool, futures: list[Any]) -> None:
    """Compare what a pool that is shut down has counted with what its futures say."""
    stats = pool.stats()
    assert all(future.done() for future in futures)
    seen = Count(
        "cancelled" if future.cancelled() else type(future.exception()).__name__ if future.exception() else "done"
        for future in futures
    )
    assert (lost(stats), stats.waiting, stats.running, stats.workers) == (0, 0, 0, 0)
    assert stats.submitted == len(futures) + stats.refused
    counted = (stats.done, stats.cancelled, stats.timed_out, stats.dropped)
    assert counted == (seen["done"], seen["cancelled"], seen["TaskTimeout"], seen["TaskDropped"])
    assert stats.failed == len(futures) - sum(counted)


def test_a_ticket_is_taken_once_by_workers_and_cancels(chance: random.Random) -> None:
    for _ in range(ROUNDS):
        calls: list[int] = []
        crew: Any = SimpleNamespace(books=Books())
        task = Task(calls.append, (1,), {}, crew, None, None)
        tallies = [Tally(), Tally()]

        def work(task: Task, tally: Tally) -> None:
            task.perform(tally)

        one, two = (lambda tally=tally, task=task: work(task, tally) for tally in tallies)
        _, _, *cancelled = race(chance, one, two, task.cancel, task.cancel)

        assert task.done()
        assert len(calls) + crew.books.cancels.read() == 1
        assert cancelled == [task.cancelled()] * 2 or calls == [1]
        assert sum(tally.started for tally in tallies) == len(calls)


def test_an_end_is_never_missed_by_one_who_begins_to_wait(chance: random.Random) -> None:
    for _ in range(ROUNDS):
        future: Future[int] = Future()
        called: list[object] = []
        waits = [
            lambda future=future: future.result(10),
            lambda future=future: future.exception(10),
            lambda future=future: len(wait([future], 10).done),
            lambda future=future: len(list(as_completed([future], 10))),
            lambda future=future, called=called: future.add_done_callback(called.append),
        ]

        results = race(chance, lambda future=future: future.set_result(7), *waits)

        assert results[1:] == [7, None, 1, 1, None]
        assert called == [future]


def test_waiting_for_all_never_returns_early_nor_hangs(chance: random.Random) -> None:
    for _ in range(ROUNDS // 3):
        futures: list[Future[int]] = [Future() for _ in range(6)]

        def end_them(futures: list[Future[int]] = futures) -> None:
            for future in futures:
                future.set_result(1) if chance.random() < 0.7 else future.cancel()

        def wait_for_all(futures: list[Future[int]] = futures) -> bool:
            done, not_done = wait(futures, 10)
            return not not_done and all(future.done() for future in done)

        results = race(chance, end_them, wait_for_all, wait_for_all)

        assert results == [None, True, True]


def test_only_one_of_many_ends_a_future(chance: random.Random) -> None:
    for _ in range(ROUNDS):
        future: Future[int] = Future()

        def end(value: int, future: Future[int] = future) -> bool:
            try:
                future.set_result(value)
            except Exception:
                return False
            return True

        results = race(chance, lambda: end(1), lambda: end(2), lambda: end(3))

        assert sum(results) == 1
        assert future.result() == results.index(True) + 1


@pytest.mark.parametrize("priorities", [[0], [0, 0, 1, -1]])
def test_what_was_admitted_ends_though_the_pool_is_shut_down(chance: random.Random, priorities: list[int]) -> None:
    for _ in range(ROUNDS // 5):
        pool = ThreadPool(chance.randint(1, 3), queue_size=chance.choice([1, 3, 2_000]))
        futures: list[Future[Any]] = []

        def submit(pool: ThreadPool = pool, futures: list[Future[Any]] = futures) -> int:
            for n in range(30):
                try:
                    futures.append(pool.with_options(priority=chance.choice(priorities)).submit(divmod, n, n % 5))
                except PoolClosed:
                    return 1
            return 0

        cancel = chance.random() < 0.3
        *refused, _ = race(chance, submit, submit, submit, partial(pool.shutdown, cancel_futures=cancel))
        wait(futures, 10)

        assert all(future.done() for future in futures)
        stats = pool.stats()
        assert lost(stats) == 0
        assert (stats.submitted, stats.refused) == (len(futures) + sum(refused), sum(refused))
        assert (stats.waiting, stats.running, stats.workers) == (0, 0, 0)
        assert stats.cancelled == sum(future.cancelled() for future in futures)


def test_the_bound_holds_and_the_counts_add_up_at_every_look(chance: random.Random) -> None:
    for size in [1, 2, 7]:
        looks: list[PoolStats] = []
        backlogs: list[int] = []
        with ThreadPool(3, queue_size=size) as pool:

            def submit(pool: ThreadPool = pool) -> list[Future[Any]]:
                futures = [pool.submit(divmod, 1, chance.randrange(2)) for _ in range(200)]
                for future in futures[::5]:
                    future.cancel()
                return futures

            def look(
                pool: ThreadPool = pool, looks: list[PoolStats] = looks, backlogs: list[int] = backlogs
            ) -> list[Future[Any]]:
                for _ in range(300):
                    looks.append(pool.stats())
                    backlogs.append(pool._work_queue.qsize())
                return []

            futures = [future for part in race(chance, submit, submit, submit, look) for future in part]
            wait(futures, 10)

        assert all(lost(stats) == 0 and min(stats.waiting, stats.running) >= 0 for stats in looks)
        assert max(backlogs) <= size
        assert pool.stats().done + pool.stats().failed + pool.stats().cancelled == len(futures) == 600


def test_a_timeout_and_an_end_at_the_same_moment_are_one_end(chance: random.Random) -> None:
    with ThreadPool(2, queue_size=None) as pool:
        for _ in range(ROUNDS // 5):
            futures = [
                pool.with_options(timeout=chance.uniform(1e-6, 2e-4)).submit(sum, range(chance.randrange(3_000)))
                for _ in range(4)
            ]
            ends = [future.exception(10) for future in futures]
            if any(isinstance(end, PoolClosed) for end in ends):
                break
            assert all(end is None or isinstance(end, TaskTimeout) for end in ends)
            while pool.stats().written_off:
                gc.collect(0)
            assert pool.stats().workers <= 2

    stats = pool.stats()
    assert lost(stats) == 0
    assert (stats.waiting, stats.running, stats.written_off) == (0, 0, 0)


def test_below_its_size_a_crew_always_hires_for_a_task_that_must_not_wait(chance: random.Random) -> None:
    """Tasks that need each other: one too few hired is a hang, also when a callback keeps a worker."""
    for _ in range(ROUNDS // 10):
        with ThreadPool(4) as pool:
            begin, kept = threading.Event(), threading.Event()
            first = pool.submit(begin.wait, 10)
            first.add_done_callback(lambda _, kept=kept: kept.wait(10))
            begin.set()
            barrier = threading.Barrier(3)
            futures: list[Future[int]] = []

            def submit(pool: ThreadPool = pool, barrier: threading.Barrier = barrier) -> Future[int]:
                return pool.submit(barrier.wait, 10)

            futures = race(chance, submit, submit, submit)

            assert sorted(future.result(10) for future in futures) == [0, 1, 2]
            kept.set()


def test_cancelling_against_the_workers_runs_or_cancels_each_once(chance: random.Random) -> None:
    ran: list[int] = []
    with ThreadPool(3) as pool:
        for _ in range(ROUNDS // 10):
            ran.clear()
            futures = [pool.submit(ran.append, n) for n in range(50)]
            race(chance, *(lambda futures=futures: [future.cancel() for future in futures] for _ in range(2)))
            wait(futures, 10)

            assert len(ran) + sum(future.cancelled() for future in futures) == 50
            for n, future in enumerate(futures):
                if future.cancelled():
                    assert n not in ran
                    with pytest.raises(CancelledError):
                        future.result()


def test_one_after_the_other_needs_one_worker_and_each_end_is_counted_before_it_is_seen(chance: random.Random) -> None:
    with ThreadPool(10) as pool:
        for n in range(1, ROUNDS + 1):
            pool.submit(int).result()
            stats = pool.stats()

            assert (stats.done, stats.workers) == (n, 1)


# What the rebuilt core brought.


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_lowest", "drop_newest", "caller_runs", "reject", "block"])
def test_full_queues_lose_nothing_whatever_the_policy(chance: random.Random, policy: Any) -> None:
    for _ in range(ROUNDS // 50):
        order: Any = chance.choice(["fifo", "lifo", "fair"])
        pool = ThreadPool(2, queue_size=chance.choice([0, 1, 3]), when_full=policy, order=order)

        def submit(pool: ThreadPool = pool) -> list[Any]:
            futures = []
            for n in range(60):
                try:
                    futures.append(pool.with_options(priority=chance.randrange(3), key=n % 3).submit(divmod, n, n % 7))
                except QueueFull:
                    assert policy == "reject"
                if futures and chance.random() < 0.1:
                    chance.choice(futures).cancel()
            return futures

        parts = race(chance, submit, submit, submit)
        pool.shutdown()

        ends_add_up(pool, [future for part in parts for future in part])


def test_the_first_priority_in_the_middle_of_everything_loses_nothing(chance: random.Random) -> None:
    for _ in range(ROUNDS // 10):
        pool = ThreadPool(2, queue_size=chance.choice([2, None]))

        def submit(priorities: bool, pool: ThreadPool = pool) -> list[Any]:
            view = pool.with_options(priority=1) if priorities else pool
            return [view.submit(int) for _ in range(20)]

        def change(pool: ThreadPool = pool) -> list[Any]:
            future: Any = pool.submit(int)
            future.set_priority(5)
            return [future]

        parts = race(chance, partial(submit, False), partial(submit, False), partial(submit, True), change)
        pool.shutdown(wait=chance.random() < 0.5)
        wait(all_of_them := [future for part in parts for future in part], 10)
        pool.shutdown()

        ends_add_up(pool, all_of_them)
        assert pool.stats().done == 61


def test_pausing_and_resizing_against_submits_loses_nothing_and_hangs_nobody(chance: random.Random) -> None:
    for _ in range(ROUNDS // 10):
        pool = ThreadPool(3, queue_size=chance.choice([0, 1, 5]), when_full=chance.choice(["block", "drop_oldest"]))

        def submit(pool: ThreadPool = pool) -> list[Any]:
            return [pool.submit(int) for _ in range(20)]

        def change(pool: ThreadPool = pool) -> list[Any]:
            for _ in range(10):
                chance.choice([pool.pause, pool.resume, lambda: pool.resize(chance.randint(1, 4))])()
            pool.resume()
            return []

        parts = race(chance, submit, submit, change)
        all_of_them = [future for part in parts for future in part]
        assert not wait(all_of_them, 10).not_done
        stats = pool.stats()
        assert stats.workers - stats.running <= 4
        pool.shutdown()

        ends_add_up(pool, all_of_them)


def test_leaving_against_blocked_submits_never_forgets_a_place(chance: random.Random) -> None:
    for _ in range(ROUNDS // 5):
        with ThreadPool(3, queue_size=1) as pool:
            wait([pool.submit(int) for _ in range(6)], 10)

            def submit(pool: ThreadPool = pool) -> list[Any]:
                return [pool.submit(int) for _ in range(4)]

            *parts, _ = race(chance, submit, submit, lambda pool=pool: pool.resize(1))

            assert not wait([future for part in parts for future in part], 10).not_done


def test_timeouts_against_ends_against_cancels_cost_no_worker(chance: random.Random) -> None:
    pool = ThreadPool(3, queue_size=None)
    all_of_them: list[Any] = []
    for _ in range(ROUNDS // 5):
        futures: list[Any] = []
        for _ in range(6):
            limit = chance.choice(["timeout", "total_timeout"])
            view = pool.with_options(**{limit: chance.uniform(1e-5, 5e-4)})  # type: ignore[arg-type]  # one of the two
            futures.append(view.submit(sum, range(chance.randrange(4_000))))
        all_of_them += futures
        chance.choice(futures).cancel(running=chance.random() < 0.5)
        assert not wait(futures, 10).not_done, "a worker is gone, and nobody took its place"
        if pool._crew._gave_up:
            break
        while pool.stats().written_off:
            gc.collect(0)
    pool.shutdown()

    ends_add_up(pool, all_of_them)


def test_nested_waits_of_all_kinds_finish_on_few_workers(chance: random.Random) -> None:
    def nest(depth: int) -> int:
        if not depth:
            return 1
        futures = [pool.submit(nest, depth - 1) for _ in range(2)]
        match chance.randrange(4):
            case 0:
                return 1 + sum(future.result() for future in futures)
            case 1:
                return 1 + sum(future.result(timeout=10) for future in futures)
            case 2:
                return 1 + sum(future.result() for future in as_completed(futures, 10))
            case _:
                return 1 + sum(future.result() for future in wait(futures, 10).done)

    for _ in range(max(1, ROUNDS // 100)):
        with ThreadPool(chance.randint(1, 2)) as pool:
            assert pool.submit(nest, 6).result(20) == 127
            gates = [Gate(pool) for _ in range(pool._crew.size)]
            while pool.stats().workers > pool._crew.size:
                gc.collect(0)
            for gate in gates:
                gate.open()
        assert (pool.stats().done, lost(pool.stats())) == (127 + len(gates), 0)


def test_cancelling_what_runs_ends_it_once_and_interrupts_nothing_else(chance: random.Random) -> None:
    def spin() -> None:
        for _ in range(chance.randrange(2_000)):
            pass

    with ThreadPool(2, queue_size=None) as pool:
        futures: list[Any] = []
        for _ in range(ROUNDS // 5):
            batch: list[Any] = [pool.with_options(interrupt=chance.random() < 0.5).submit(spin) for _ in range(4)]
            race(chance, *(partial(future.cancel, running=True) for future in batch))
            futures += batch
        assert not wait(futures, 10).not_done
        assert all(future.cancelled() or future.exception() is None for future in futures)
        assert pool.submit(int, "3").result(10) == 3
    stats = pool.stats()
    assert stats.done == 1 + sum(not future.cancelled() for future in futures)
    assert (lost(stats), stats.failed, stats.waiting, stats.running) == (0, 0, 0, 0)


# Races forced by hand, step by step.


def test_who_begins_to_wait_between_the_end_and_the_look_for_a_watch_is_told_once() -> None:
    future: Future[int] = Future()
    called: list[object] = []
    future._take_ticket()
    future._seize_end()

    attached = future._attach()
    future._value, future._end = 7, RETURNED  # the first half of `_conclude`
    ends = as_completed([future], 5)
    first = next(ends)
    waited = wait([future], 5)
    future.add_done_callback(called.append)
    watch = attached.watch
    assert watch is not None
    with watch.condition:
        watch.waiters.append(_Waiter())
    callbacks = attached.tell(future, RETURNED)  # the second half

    assert (first, waited.done, list(callbacks), called) == (future, {future}, [], [future])
    assert watch.waiters[0].finished_futures == []


def test_a_worker_is_free_and_its_work_counted_before_anybody_is_told() -> None:
    tally, seen = Tally(), []
    crew: Any = SimpleNamespace(books=Books(), staff=None)
    task = Task(int, (), {}, crew, None, None)

    class Probe(_Waiter):
        def add_result(self, future: object) -> None:
            seen.append((tally.idle, tally.done))

    task._waiters.append(Probe())
    task.perform(tally)

    assert seen == [(True, 1)]


def test_the_state_does_not_move_while_somebody_holds_the_condition() -> None:
    """`wait` reads it twice under the condition, and counts wrongly if the two differ."""
    future: Future[int] = Future()
    future.set_running_or_notify_cancel()

    with future._condition:
        thread = threading.Thread(target=future.set_result, args=(7,))
        thread.start()
        while not future.done():
            pass
        state = future._state
    thread.join()

    assert (state, future._state) == ("RUNNING", "FINISHED")


def test_a_task_that_a_withdrawn_one_overtook_during_the_close_still_runs() -> None:
    begin = threading.Event()
    pool = ThreadPool(1)
    pool.submit(begin.wait, 10)
    lazy = pool.with_options(priority=-1).submit(int)
    pool.shutdown(wait=False)

    withdrawn = Task(int, (), {}, pool._crew, None, Options(priority=9))
    assert withdrawn.withdraw()
    pool._crew.line.put_beyond(withdrawn)
    begin.set()

    assert lazy.result(10) == 0
    pool.shutdown()
