"""Many questions in one call: what arrives while a call is under way is asked together in the next one.

After a large batch the next call waits a moment for the rest of the crowd: most of those who were just
answered come back at once, and one commit for 60 costs little more than one for 30. Measured with 64
connections on 2 cores: 8,400 submits a second without this, 9,800 with it, at a lower median latency.

Guarantees:
    One call at a time, in one thread of its own; the event loop never waits for the store.
    Questions are asked in the order of their arrival, at most `most` in a call.
    The answers of a call come back to the loop in one step.
    A question that finds nobody busy is asked at once.

Shutdown:
    `close` lets the call under way end, refuses what was not asked yet, and joins the thread, for five
    seconds at most: a store that hangs must not hold a stop up. Idempotent.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from millhand.core.clock import Seconds
from millhand.core.errors import StoreError

CROWD = 8
"""From how many askers on it pays to wait for the rest of them."""
ENOUGH = 0.7
"""Which part of the crowd ends the wait. With arrivals that follow no rhythm this makes the wait about as long
as a call takes; at 1.0 each wait would last to its end."""
LONGEST_WAIT: Seconds = 0.005
LONGEST_CLOSE: Seconds = 5.0

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batcher(Generic[Question, Answer]):
    """This gathers questions on an event loop and asks them in batches from a thread.

    Args:
        answer_all: gets a batch, returns as many answers in the same order; what it raises, each asker of
            the batch gets.
        name: the thread's name.
        most: the largest batch.
        note_size: is told the size of each batch, on the loop.
    """

    def __init__(
        self,
        answer_all: Callable[[list[Question]], Sequence[Answer]],
        *,
        name: str,
        most: int = 1000,
        note_size: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._answer_all = answer_all
        self._most = most
        self._note_size = note_size
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._busy = False
        self._enough = 0.0
        self._gathering: asyncio.TimerHandle | None = None
        self._closed = False
        self._batches: SimpleQueue[_Batch[Question, Answer] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def waiting(self) -> int:
        """How many questions wait for their turn, not counting those of the call under way."""
        return len(self._waiting)

    def ask(self, question: Question) -> asyncio.Future[Answer]:
        """Return a future for the answer. Only from a coroutine or callback of a running loop.

        A future that is cancelled before its turn is not asked. After `close` it holds a StoreError.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        if self._closed:
            future.set_exception(StoreError("the server is stopping"))
            return future
        self._waiting.append((question, future))
        if self._gathering is not None:
            if len(self._waiting) >= self._enough:
                self._stop_gathering()
                loop.call_soon(self._hand_over, loop)
        elif not self._busy:
            self._busy = True
            # Not at once: whatever else the loop has ready in this turn joins the same batch.
            loop.call_soon(self._hand_over, loop)
        return future

    def close(self) -> None:
        """End the thread after the call under way; those who were not asked yet get a StoreError.

        Only from the loop's thread, or once the loop has ended: elsewhere it would race with `ask` and the next call.
        """
        self._closed = True
        while self._waiting:
            _, future = self._waiting.popleft()
            with suppress(RuntimeError):  # its loop is closed: nobody waits any more
                if not future.done():
                    future.set_exception(StoreError("the server is stopping"))
        if self._thread.ident is not None:
            self._batches.put(None)
            self._thread.join(LONGEST_CLOSE)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stop_gathering()
        questions: list[Question] = []
        futures: list[asyncio.Future[Answer]] = []
        while self._waiting and len(questions) < self._most:
            question, future = self._waiting.popleft()
            if not future.done():
                questions.append(question)
                futures.append(future)
        self._busy = bool(questions)
        if not questions:
            return
        if self._thread.ident is None:
            self._thread.start()
        self._note_size(len(questions))
        self._batches.put(_Batch(questions, futures, loop))

    def _hand_over_soon(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        crowd = size + len(self._waiting)
        self._enough = ENOUGH * crowd
        if crowd < CROWD or len(self._waiting) >= self._enough:
            self._hand_over(loop)
        else:
            self._gathering = loop.call_later(LONGEST_WAIT, self._hand_over, loop)

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                batch.answers = self._answer_all(batch.questions)
            except Exception as error:  # noqa: BLE001 - whatever it was, the askers get it
                batch.error = error
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody is left to tell
                batch.loop.call_soon_threadsafe(self._deliver, batch)
            del batch  # or the last batch would stay alive until the next one comes

    def _deliver(self, batch: _Batch[Question, Answer]) -> None:
        # The next batch first: its commit then runs while the loop writes this one's answers.
        self._hand_over_soon(len(batch.questions), batch.loop)
        if batch.error is not None:
            for future in batch.futures:
                if not future.done():
                    future.set_exception(batch.error)
            return
        for future, answer in zip(batch.futures, batch.answers, strict=True):
            if not future.done():
                future.set_result(answer)


class _Batch(Generic[Question, Answer]):
    """One call's questions, who asked them, and afterwards its answers or its error."""

    __slots__ = ("answers", "error", "futures", "loop", "questions")

    def __init__(
        self, questions: list[Question], futures: list[asyncio.Future[Answer]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.questions, self.futures, self.loop = questions, futures, loop
        self.answers: Sequence[Answer] = ()
        self.error: Exception | None = None
