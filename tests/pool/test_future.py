from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import threading
import weakref
from concurrent.futures import CancelledError, InvalidStateError
from typing import Any

import pytest

from millhand import Future


def ended(result: Any = 42) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def cancelled() -> Future[Any]:
    future: Future[Any] = Future()
    future.cancel()
    return future


def test_it_is_a_future_of_the_standard_library() -> None:
    assert isinstance(Future(), concurrent.futures.Future)


def test_a_new_future_is_pending() -> None:
    future: Future[int] = Future()

    assert (future.done(), future.running(), future.cancelled()) == (False, False, False)
    assert "pending" in repr(future)


def test_a_future_whose_call_was_taken_is_running() -> None:
    future: Future[int] = Future()

    assert future.set_running_or_notify_cancel()

    assert (future.done(), future.running(), future.cancelled()) == (False, True, False)
    assert "running" in repr(future)


def test_a_result_is_returned_as_often_as_it_is_asked_for() -> None:
    future = ended(result=None)

    assert future.result() is None
    assert future.result(timeout=0) is None
    assert future.exception() is None
    assert future.done()
    assert "returned NoneType" in repr(future)


def test_an_exception_is_raised_whole() -> None:
    error = ZeroDivisionError("by what?")
    future = failed(error)

    with pytest.raises(ZeroDivisionError) as caught:
        future.result()

    assert caught.value is error
    assert future.exception() is error
    assert "raised ZeroDivisionError" in repr(future)


def test_a_cancelled_future_says_so_everywhere() -> None:
    future = cancelled()

    assert future.cancelled()
    assert future.done()
    assert not future.running()
    assert "cancelled" in repr(future)
    with pytest.raises(CancelledError):
        future.result()
    with pytest.raises(CancelledError):
        future.exception()


def test_cancelling_twice_is_cancelling_once() -> None:
    calls: list[object] = []
    future: Future[int] = Future()
    future.add_done_callback(calls.append)

    assert future.cancel()
    assert future.cancel()

    assert calls == [future]


def test_neither_a_running_nor_an_ended_call_can_be_cancelled() -> None:
    running: Future[int] = Future()
    running.set_running_or_notify_cancel()

    assert not running.cancel()
    assert not ended().cancel()


def test_a_cancelled_call_must_not_be_run() -> None:
    assert not cancelled().set_running_or_notify_cancel()


def test_a_call_cannot_be_taken_twice(caplog: pytest.LogCaptureFixture) -> None:
    future: Future[int] = Future()
    future.set_running_or_notify_cancel()

    with pytest.raises(RuntimeError), caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        future.set_running_or_notify_cancel()

    assert "unexpected state" in caplog.text


@pytest.mark.parametrize("make", [ended, cancelled, lambda: failed(ValueError())])
def test_an_outcome_cannot_be_replaced(make: Any) -> None:
    future = make()
    state = repr(future)

    with pytest.raises(InvalidStateError):
        future.set_result(1)
    with pytest.raises(InvalidStateError):
        future.set_exception(ValueError())

    assert repr(future) == state


@pytest.mark.parametrize("ask", [Future.result, Future.exception])
def test_waiting_ends_with_the_timeout(ask: Any) -> None:
    with pytest.raises(TimeoutError):
        ask(Future(), timeout=0.001)


@pytest.mark.parametrize("end", ["set_result", "set_exception", "cancel"])
def test_a_thread_that_waits_is_woken_by_any_end(end: str) -> None:
    future: Future[Any] = Future()
    outcome: list[object] = []

    def wait() -> None:
        try:
            outcome.append(future.result())
        except (CancelledError, ValueError) as error:
            outcome.append(type(error))

    thread = threading.Thread(target=wait)
    thread.start()
    {
        "set_result": lambda: future.set_result(7),
        "set_exception": lambda: future.set_exception(ValueError()),
        "cancel": future.cancel,
    }[end]()
    thread.join()

    assert outcome == [{"set_result": 7, "set_exception": ValueError, "cancel": CancelledError}[end]]


def test_callbacks_run_in_order_and_at_once_when_it_is_over() -> None:
    calls: list[int] = []
    future: Future[int] = Future()
    future.add_done_callback(lambda f: calls.append(1))
    future.add_done_callback(lambda f: calls.append(2))
    assert calls == []

    future.set_result(0)
    future.add_done_callback(lambda f: calls.append(3))

    assert calls == [1, 2, 3]


def test_a_callback_that_fails_is_logged_and_the_next_one_still_runs(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[object] = []
    future: Future[int] = Future()
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(calls.append)

    with caplog.at_level(logging.ERROR, "concurrent.futures"):
        future.set_result(1)

    assert calls == [future]
    assert "exception calling callback" in caplog.text


def test_callbacks_are_called_without_the_lock() -> None:
    future: Future[int] = Future()
    seen: list[bool] = []

    def ask_from_another_thread(_: object) -> None:
        thread = threading.Thread(target=lambda: seen.append(future.running()))
        thread.start()
        thread.join(1)

    future.add_done_callback(ask_from_another_thread)
    future.set_result(1)

    assert seen == [False]


@pytest.mark.parametrize("make", [ended, cancelled, lambda: failed(ValueError())])
@pytest.mark.parametrize("mode", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_the_stdlib_sees_an_end_before_the_wait(make: Any, mode: str) -> None:
    future = make()

    done, not_done = concurrent.futures.wait([future], timeout=0, return_when=mode)

    assert (done, not_done) == ({future}, set())
    assert list(concurrent.futures.as_completed([future], timeout=0)) == [future]


@pytest.mark.parametrize("end", ["set_result", "set_exception", "cancel"])
@pytest.mark.parametrize("mode", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_the_stdlib_sees_an_end_during_the_wait(end: str, mode: str) -> None:
    future: Future[Any] = Future()
    ends = {
        "set_result": lambda: future.set_result(7),
        "set_exception": lambda: future.set_exception(ValueError()),
        "cancel": future.cancel,
    }
    timer = threading.Timer(0.005, ends[end])
    timer.start()

    done, _ = concurrent.futures.wait([future, ended()] if mode == "ALL_COMPLETED" else [future], 5, mode)

    assert future in done
    timer.join()


def test_a_future_can_be_awaited() -> None:
    async def main() -> int:
        future: Future[int] = Future()
        threading.Timer(0.005, future.set_result, [5]).start()
        return await future

    assert asyncio.run(main()) == 5


def test_cancelling_the_awaiting_task_cancels_the_call() -> None:
    async def main() -> Future[int]:
        future: Future[int] = Future()
        task = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return future

    assert asyncio.run(main()).cancelled()


def test_awaiting_without_a_loop_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"use result\(\)"):
        Future().__await__()


def test_a_raised_exception_does_not_keep_its_future_alive() -> None:
    error = ValueError()
    future = failed(error)
    gone = weakref.ref(future)
    gc.disable()
    try:
        with pytest.raises(ValueError):  # noqa: PT011 - it is that very object
            future.result()
        error.__traceback__ = None

        del future

        assert gone() is None
    finally:
        gc.enable()


def test_every_public_method_of_a_future_is_our_own() -> None:
    theirs = {name for name in vars(concurrent.futures.Future) if not name.startswith("_")}

    assert theirs <= set(vars(Future))


def test_every_private_name_that_the_stdlib_sets_is_ours_too() -> None:
    """The stdlib's functions read these; a name that a new Python adds must be looked at before it is claimed."""
    assert set(vars(concurrent.futures.Future())) <= set(dir(Future))
