"""The alarm clock of a pool: one heap and one thread for the timeouts of all its tasks.

Guarantees:
    An alarm rings once, after its time, unless it was called off before. Actions are called without the lock.
    Memory: an alarm that was called off holds nothing, and the dead are never more than the living plus 64.

Locks:
    `_changed` protects the heap and the alarms in it.

Shutdown:
    1. `stop` drops all alarms and wakes the thread. 2. The thread ends. 3. `join` waits for that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from millhand.core.clock import Clock, Instant, Seconds

NEVER: Instant = float("inf")
FEW = 64
"""Dead alarms that are not worth a clean-up."""

log = logging.getLogger("millhand")


class Alarm:
    """This is one entry of the heap; without an action it is dead."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action


class Timers:
    """This calls actions when their time has come. The first `add` starts the thread.

    `step` does the work and can be driven by hand: tests do it, with a clock of their own.
    """

    def __init__(self, clock: Clock, thread_name: str) -> None:
        self._clock = clock
        self._thread_name = thread_name
        self._changed = threading.Condition()
        self._heap: list[tuple[Instant, int, Alarm]] = []
        self._dead = 0
        self._sequence = count()
        self._thread: threading.Thread | None = None
        self.runs = False
        """Whether it has a thread."""
        self._stopped = False

    def __len__(self) -> int:
        """Return how many entries the heap holds, dead ones included."""
        return len(self._heap)

    def add(self, delay: Seconds, action: Callable[[], None]) -> Alarm:
        """Have `action` called in `delay` seconds; as `at` otherwise."""
        return self.at(self._clock.monotonic() + delay, action)

    def at(self, due: Instant, action: Callable[[], None]) -> Alarm:
        """Have `action` called at a monotonic time. Raises RuntimeError if no thread can be started."""
        alarm = Alarm(action)
        with self._changed:
            self.start()
            entry = (due, next(self._sequence), alarm)
            heappush(self._heap, entry)
            if self._heap[0] is entry:
                self._changed.notify()
        return alarm

    def start(self) -> None:
        """Start the thread if it does not run yet. Raises RuntimeError if no thread can be started."""
        with self._changed:
            if self._thread is None and not self._stopped:
                thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
                thread.start()
                self._thread = thread
                self.runs = True

    def call_off(self, alarm: Alarm) -> None:
        """Forget an alarm; nothing happens if it has rung."""
        with self._changed:
            if alarm.action is None:
                return
            alarm.action = None
            self._dead += 1
            if self._dead > FEW and self._dead * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[-1].action is not None]
                heapify(self._heap)
                self._dead = 0

    def step(self, now: Instant) -> Instant:
        """Call what is due; return when the next alarm is."""
        while action := self._take_due(now):
            try:
                action()
            except Exception:  # the edge of the thread: one alarm must not silence the others
                log.exception("a timer's action failed")
        with self._changed:
            return self._heap[0][0] if self._heap else NEVER

    def stop(self) -> None:
        """Drop all alarms and end the thread."""
        with self._changed:
            self._stopped = True
            self._heap.clear()
            self._dead = 0
            self._changed.notify()

    def join(self) -> None:
        """Wait until the thread has ended, if there is one."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self.step(self._clock.monotonic())
            with self._changed:
                # Looked at again under the lock: what was added since the step has notified nobody.
                due = self._heap[0][0] if self._heap else NEVER
                if not self._stopped:
                    self._changed.wait(min(max(0.0, due - self._clock.monotonic()), threading.TIMEOUT_MAX))

    def _take_due(self, now: Instant) -> Callable[[], None] | None:
        with self._changed:
            while self._heap and self._heap[0][0] <= now:
                alarm = heappop(self._heap)[-1]
                action, alarm.action = alarm.action, None
                if action is not None:
                    return action
                self._dead -= 1
        return None
