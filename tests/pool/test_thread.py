from __future__ import annotations

import asyncio
import contextvars
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from typing import Any

import pytest

from millhand import Future, PoolClosed, QueueFull, TaskTimeout, ThreadPool
from tests.pool.gate import Gate

Pools = Callable[..., ThreadPool]


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start a thread that keeps what the call returns or raises."""
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


def refuse_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_every_public_method_of_the_standard_library_is_ours_or_inherited_on_purpose() -> None:
    inherited_on_purpose = {"map"}  # its body is submit, result and cancel, which are ours
    theirs = {name for cls in (Executor, ThreadPoolExecutor) for name in vars(cls) if not name.startswith("_")}
    ahead = ThreadPool.__mro__[: ThreadPool.__mro__.index(ThreadPoolExecutor)]
    ours = {name for name in theirs if any(name in vars(cls) for cls in ahead)}

    assert theirs - {"BROKEN", "prepare_context"} == ours | inherited_on_purpose


@pytest.mark.parametrize("size", [-1, True, 2.5])
def test_a_queue_size_is_a_whole_number(size: Any) -> None:
    with pytest.raises(ValueError, match="queue_size must be a whole number"):
        ThreadPool(1, queue_size=size)


def test_submit_returns_our_future(make: Pools) -> None:
    assert isinstance(make(1).submit(int), Future)


def test_a_full_queue_blocks_until_a_worker_takes_one(make: Pools) -> None:
    pool = make(1, queue_size=2)
    gate = Gate(pool)
    waiting = [pool.submit(int, n) for n in range(2)]

    thread, outcome = in_thread(lambda: pool.submit(int, 2).result())
    thread.join(0.02)
    blocked = thread.is_alive()
    waiting_while_blocked = pool.stats().waiting
    gate.open()
    thread.join()

    assert blocked
    assert waiting_while_blocked == 2
    assert outcome == [2]
    assert [future.result() for future in waiting] == [0, 1]


def test_many_blocked_submitters_all_get_through_a_narrow_queue(make: Pools) -> None:
    pool = make(2, queue_size=1)

    threads = [in_thread(lambda: [pool.submit(int, n).result() for n in range(20)]) for _ in range(6)]
    for thread, _ in threads:
        thread.join()

    assert [outcome for _, outcome in threads] == [[list(range(20))]] * 6


def test_a_shutdown_sends_a_blocked_submitter_away(make: Pools) -> None:
    pool = make(1, queue_size=1)
    gate = Gate(pool)
    waiting = pool.submit(int)
    threads = [in_thread(lambda: pool.submit(int)) for _ in range(2)]
    for thread, _ in threads:
        thread.join(0.01)

    pool.shutdown(wait=False)
    for thread, _ in threads:
        thread.join()
    gate.open()

    assert all(isinstance(outcome[0], PoolClosed) for _, outcome in threads)
    assert waiting.result() == 0


def test_an_event_loop_is_never_blocked(make: Pools) -> None:
    pool = make(1, queue_size=1)
    gate = Gate(pool)

    async def main() -> Future[int]:
        future = pool.submit(int)  # there is a place: nothing to wait for
        with pytest.raises(QueueFull, match="1 of 1 places are taken; await") as caught:
            pool.submit(int)
        assert (caught.value.waiting, caught.value.limit) == (1, 1)
        gate.open()
        assert await future == 0
        return future

    assert asyncio.run(main()).done()
    assert pool.stats().refused == 1


def test_a_worker_that_submits_to_its_full_pool_runs_the_call_itself(make: Pools) -> None:
    pool = make(1, queue_size=1)

    def nest(depth: int) -> list[str]:
        inner = [pool.submit(nest, depth - 1) for _ in range(3)] if depth else []
        return [threading.current_thread().name, *(name for future in inner[1:] for name in future.result())]

    names = pool.submit(nest, 2).result()

    assert set(names) == {names[0]}


def test_calls_run_by_their_submitter_are_counted_like_others(make: Pools) -> None:
    pool = make(1, queue_size=1)

    first, *run_at_once = pool.submit(lambda: [pool.submit(int) for _ in range(4)]).result()
    first.result()

    stats = pool.stats()
    assert all(future.done() for future in run_at_once)
    assert (stats.submitted, stats.done, stats.waiting, stats.running) == (5, 5, 0, 0)


def test_a_call_sees_the_context_of_its_submit(make: Pools) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    pool = make(1)
    gate = Gate(pool)

    plain = contextvars.Context().run(pool.submit, variable.get)
    variable.set("before")
    before = pool.submit(variable.get)
    variable.set("after")
    changed = pool.submit(variable.set, "in the call")
    after = pool.submit(variable.get)
    gate.open()

    assert changed.exception() is None
    assert (plain.result(), before.result(), after.result()) == ("none", "before", "after")
    assert variable.get() == "after"


def test_threads_are_named_after_their_pool(make: Pools) -> None:
    named, unnamed = make(1, "resize"), make(1)

    assert named.submit(lambda: threading.current_thread().name).result() == "resize_0"
    assert unnamed.submit(lambda: threading.current_thread().name).result().startswith("ThreadPoolExecutor-")


def test_a_traceback_begins_in_the_call(make: Pools) -> None:
    """Our own frame would keep the arguments, and the future in a circle, alive."""

    def fail() -> None:
        raise ValueError

    error = make(1).submit(fail).exception()

    assert error is not None
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_code is fail.__code__


def test_a_callback_that_exits_does_not_end_its_worker(make: Pools, caplog: pytest.LogCaptureFixture) -> None:
    pool = make(1)
    gate = Gate(pool)

    def leave(_: object) -> None:
        raise SystemExit

    gate.future.add_done_callback(leave)
    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        gate.open()
        assert pool.submit(int).result() == 0

    assert "Exception in worker" in caplog.text
    assert pool.stats().workers == 1


def test_a_task_cannot_wait_for_the_end_of_its_own_pool(make: Pools) -> None:
    pool = make(1)

    with pytest.raises(RuntimeError, match="cannot join current thread"):
        pool.submit(pool.shutdown).result()


def test_the_backlog_can_be_seen_where_programs_look_for_it(make: Pools) -> None:
    pool = make(1)
    gate = Gate(pool)
    pool.submit(int)

    assert pool._work_queue.qsize() == 1  # noqa: SLF001 - programs look at it, so it is part of what is promised
    gate.open()


def test_a_submit_for_which_no_thread_can_be_started_says_so(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(1)
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        pool.submit(int)

    monkeypatch.undo()
    assert pool.submit(int, "4").result() == 4
    pool.shutdown()
    assert (pool.stats().refused, pool.stats().done) == (1, 1)


def test_a_stuck_thread_that_cannot_be_replaced_ends_the_pool(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(1)
    release = threading.Event()
    assert pool.with_options(timeout=60).submit(int).result() == 0  # the timer's thread runs from here on
    entered = threading.Event()
    stuck = pool.with_options(timeout=0.05).submit(lambda: (entered.set(), release.wait()))
    behind = pool.submit(int)
    assert entered.wait(5)
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)

    errors = stuck.exception(), behind.exception()
    monkeypatch.undo()
    release.set()

    assert isinstance(errors[0], TaskTimeout)
    assert isinstance(errors[1], PoolClosed)
    with pytest.raises(PoolClosed, match="none can be added: can't start"):
        pool.submit(int)


def test_a_call_whose_timeout_cannot_be_watched_is_not_run(make: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(1)
    calls: list[int] = []
    assert pool.submit(int).result() == 0
    monkeypatch.setattr(threading.Thread, "start", refuse_to_start)

    error = pool.with_options(timeout=60).submit(calls.append, 1).exception()
    monkeypatch.undo()

    assert "can't start new thread" in str(error)
    assert calls == []


def test_a_blocked_submitter_learns_that_the_pool_broke(make: Pools, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    def fail() -> None:
        assert release.wait(5)
        raise ValueError

    pool = make(1, initializer=fail, queue_size=1)
    waiting = pool.submit(int)
    thread, outcome = in_thread(lambda: pool.submit(int))
    thread.join(0.01)

    release.set()
    thread.join()

    assert isinstance(waiting.exception(), BrokenExecutor)
    assert isinstance(outcome[0], BrokenExecutor)


def test_a_crew_that_is_idle_and_whole_takes_tasks_after_a_pool_broke_elsewhere(make: Pools) -> None:
    broken, whole = make(1, initializer=lambda: 1 / 0), make(1)

    assert isinstance(broken.submit(int).exception(), BrokenExecutor)
    assert whole.submit(int).result() == 0


def run_program(text: str) -> tuple[str, str, int]:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=15, check=False)
    return done.stdout, done.stderr, done.returncode


@pytest.mark.slow
def test_what_was_submitted_runs_before_the_interpreter_ends() -> None:
    out, err, code = run_program(
        "from millhand import ThreadPool\n"
        "pool = ThreadPool(1)\n"
        "for n in range(3): pool.submit(print, n)\n"
        "pool.with_options(priority=1, timeout=5).submit(print, 'urgent')\n"
    )

    assert (sorted(out.split()), err, code) == (["0", "1", "2", "urgent"], "", 0)


@pytest.mark.slow
def test_a_submit_while_the_interpreter_ends_is_refused() -> None:
    out, err, code = run_program(
        "import atexit, threading\n"
        "from millhand import ThreadPool\n"
        "pool, fresh = ThreadPool(1), ThreadPool(1)\n"
        "pool.submit(int).result()\n"
        "def last():\n"
        "    for each in pool, fresh:\n"
        "        try: each.submit(print, 'never')\n"
        "        except RuntimeError as error: print(error)\n"
        "atexit.register(last)\n"
    )

    assert (out, err, code) == ("cannot schedule new futures after interpreter shutdown\n" * 2, "", 0)
